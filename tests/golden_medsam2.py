"""The official-format state dict of the golden data (see golden/README.md)."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def official_state_dict() -> dict[str, torch.Tensor]:
    """471 official names -> deterministic random float32 tensors."""
    filled = {}
    for entry in json.loads((GOLDEN / "official_t512_manifest.json").read_text()):
        normal = np.random.default_rng(zlib.crc32(entry["key"].encode())).standard_normal(entry["shape"])
        filled[entry["key"]] = torch.from_numpy(np.asarray(entry["mean"] + entry["std"] * normal, dtype=np.float32))
    return filled


def write_official_checkpoint(folder: Path) -> Path:
    """A file of the form of the released ones; returns its path."""
    path = folder / "official.pt"
    torch.save({"model": official_state_dict()}, path)
    return path

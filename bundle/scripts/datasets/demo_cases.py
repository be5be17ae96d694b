"""The cases of a run that was given none: a phantom on disk, and questions about it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from ..phantom.scan import SEEDS, make_phantom
from ..queries.bank import sample_queries
from ..queries.concepts import CONCEPTS

# Held out from training, like all of this split, and its wording too.
_SUBSET, _SPLIT, _SEED = "organs", "validation", SEEDS["validation"][0]
_TARGETS = ("liver", "kidneys")
_SHAPE = (192, 192, 64)


def write_demo_cases(folder: str | Path) -> Path:
    """Writes a phantom, a label mask for each of its questions, and the datalist that names them.

    Args:
        folder: made when absent.

    Returns:
        Path of `datalist.json`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(_SEED, _SUBSET, shape=_SHAPE)
    _save(phantom.image.round().astype(np.int16), phantom.affine, folder / "phantom.nii.gz")
    # By function, not by name; every target is drawn once before one is drawn again.
    count = len(CONCEPTS[_SUBSET])
    sampled = sample_queries(phantom.label, _SUBSET, _SPLIT, count, np.random.default_rng(_SEED), types=("C",))
    entries = []
    for target in _TARGETS:
        query, mask = next((query, mask) for query, mask in sampled if query.target == target)
        case = f"phantom_{target}"
        _save(mask.astype(np.uint8), phantom.affine, folder / f"{case}_label.nii.gz")
        entries.append({"image": "phantom.nii.gz", "query": query.text, "case": case, "label": f"{case}_label.nii.gz"})
    path = folder / "datalist.json"
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return path


def _save(voxels: np.ndarray, affine: np.ndarray, path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)

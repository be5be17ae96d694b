"""Questions of the query bank about a patient whose organs a label map holds, as entries of a datalist."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from medvol_r1.queries.bank import sample_queries
from medvol_r1.queries.concepts import CONCEPTS


def questions(
    image: Path,
    label: Path,
    label_values: Mapping[int, Sequence[int]],
    subset: str,
    split: str,
    wordings: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Draws questions about the organs that are there; what the label map does not hold is not asked for.

    Args:
        image: the CT.
        label: its label map.
        label_values: the values in `label` of each id of the bank's concepts (`queries.concepts.CONCEPTS`).
        subset: whose concepts are asked for.
        split: whose words are used.
        wordings: how many questions of each organ and type.
        rng: the only source of chance.

    Returns:
        Entries with absolute paths; none where no organ is there.
    """
    in_file = set(np.unique(np.asanyarray(nib.load(label).dataobj)).astype(int).tolist())
    present = {organ: sorted(in_file & set(values)) for organ, values in label_values.items() if in_file & set(values)}
    if not present:
        return []
    # One voxel for each organ: that is all the bank asks of a label map.
    voxels = np.array(sorted(present), dtype=np.uint8)[None, None]
    patient = image.name.removesuffix(".nii.gz").removesuffix("_ct")
    needed = {c: c.resolver.removeprefix("labels:").split(",") for c in CONCEPTS[subset]}
    count = wordings * sum(len(c.types) for c, ids in needed.items() if set(map(int, ids)) <= set(present))
    drawn = sample_queries(voxels, subset, split, count, rng, absent_fraction=0.0, labeled=present)
    return [
        {
            "image": str(image.resolve()),
            "label": str(label.resolve()),
            "label_values": sorted({v for organ in voxels[mask].tolist() for v in present[organ]}),
            "query": query.text,
            "target": query.target,
            "type": query.type,
            "implicitness": query.implicitness,
            "laterality": query.laterality,
            "case": f"{patient}_q{number}",
            "patient": patient,
            "paraphrase_group": query.paraphrase_group,
            "subset": subset,
        }
        for number, (query, mask) in enumerate(drawn)
    ]


def write_list(entries: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Writes a datalist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path

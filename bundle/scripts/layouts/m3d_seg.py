"""M3D-Seg: CT-ORG, AbdomenCT-1K and KiTS23 (and others) as arrays, with the split that M3D drew.

`<code>/<code>.json` lists pairs of `image.npy`, float [1, ., ., .], and `mask_(C, ., ., .).npz`, a sparse matrix
[C, voxels] whose shape stands in its name alone; channel i is label i + 1. An older form has `ct/case_00000.npy` and
`gt/case_00000.(C, ., ., .).npz`. HU, spacing and orientation are lost: see `preparation.m3d_arrays`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from . import abdomenct_1k, ct_org, kits23
from .found_cases import Found, FoundCase, LayoutError, LeftOut, checked_folder, refuse_if_nothing

# Names by channel; where the axes of the released files point, if that is the same for all of them.
_CODES = {
    "0003": (abdomenct_1k.NAMES, None),
    "0004": (kits23.NAMES, "IPL"),
    "0012": (ct_org.NAMES, None),
}
_SPLITS = {"train": "training", "test": "test"}
_EXPECTED = (
    "M3D_Seg/<code>/<code>.json with the arrays that it lists, for one or several of the codes "
    + ", ".join(_CODES)
    + " (image.npy and mask_(C, H, W, D).npz a case, or ct/*.npy and gt/*.npz)"
)


def find_cases(folder: str | Path) -> Found:
    """The cases of M3D-Seg; its split is the official one.

    Args:
        folder: `M3D_Seg`, or the folder of one code.

    Raises:
        LayoutError: no list of a known code is there, or one that cannot be read.
    """
    folder = checked_folder(folder, _EXPECTED)
    listed = [
        (path, case)
        for path in sorted(path for path in folder.rglob("*.json") if path.stem in _CODES)
        for case in _cases_of(path)
    ]
    times = Counter(case.case for _, case in listed)
    cases, left_out = [], []
    for path, case in listed:
        if times[case.case] > 1:
            # Nobody knows which side is meant.
            message = f"{path} lists it twice, or another list of that code does; remove all but one"
            left_out.append(LeftOut(case.case, "duplicate_case", message))
        elif not case.image.is_file():
            left_out.append(LeftOut(case.case, "no_image", f"{case.image} of {path} is not there: download it"))
        elif not case.label.is_file():
            left_out.append(LeftOut(case.case, "no_label", f"{case.label} of {path} is not there: download it"))
        else:
            cases.append(case)
    return refuse_if_nothing(Found(cases, list(dict.fromkeys(left_out))), folder, _EXPECTED)


def _cases_of(path: Path) -> list[FoundCase]:
    """What a list names, whether it is there or not."""
    names, axes = _CODES[path.stem]
    cases = []
    for split, pairs in _lists_of(path).items():
        for pair in pairs:
            image, label = (_on_disk(path, pair[key]) for key in ("image", "label"))
            name = image.parent.name if image.name == "image.npy" else image.stem
            case = f"m3d_{path.stem}_{name}"
            cases.append(FoundCase(case, case, image, label, names, split=_SPLITS[split], axes=axes))
    return cases


def _lists_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LayoutError("bad_table", f"{path} is not JSON ({error}): download it again") from error
    lists = {split: content.get(split) for split in _SPLITS} if isinstance(content, dict) else {}
    if not any(isinstance(pairs, list) and pairs for pairs in lists.values()):
        raise LayoutError("bad_table", f"{path} has neither `train` nor `test`, lists of pairs: download it again")
    for split, pairs in lists.items():
        for pair in pairs or []:
            if not isinstance(pair, dict) or not all(isinstance(pair.get(key), str) for key in ("image", "label")):
                raise LayoutError("bad_table", f'{path} has {pair!r} in `{split}`; need {{"image", "label"}} as texts')
    return {split: pairs or [] for split, pairs in lists.items()}


def _on_disk(path: Path, listed: str) -> Path:
    """A listed path: relative to M3D_Seg's parent, to M3D_Seg or to the code's folder, as the copies have it."""
    tried = [parent / listed for parent in list(path.parents)[:3]]
    return next((file for file in tried if file.is_file()), tried[1])

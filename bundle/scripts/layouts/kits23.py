"""KiTS23: 489 CTs of kidneys with tumors and cysts.

Folders `case_00000` with `imaging.nii.gz` and `segmentation.nii.gz`, or flat, `images/case_00000.nii.gz` beside
`labels/case_00000.nii.gz`. The repository brings the segmentations; its program downloads the images. The first axis
of a volume goes from superior to inferior (IPL); the affine says so, and is what is followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .found_cases import Found, FoundCase, checked_folder, paired, refuse_if_nothing

NAMES = {"kidney": [1], "kidney tumor": [2], "kidney cyst": [3]}
_FLAT = {"images": "image", "labels": "label", "segmentations": "label"}
_NESTED = {"imaging": "image", "segmentation": "label"}
_CASE = re.compile(r"case_(\d{5})")
_EXPECTED = (
    "case_00000/imaging.nii.gz and case_00000/segmentation.nii.gz of KiTS23, or images/case_00000.nii.gz and "
    "labels/case_00000.nii.gz, there or below; images come with `kits23_download_data`, a program of its repository"
)


def find_cases(folder: str | Path) -> Found:
    """The cases of KiTS23; its test part was never released.

    Args:
        folder: a clone of the repository with the images downloaded, its `dataset`, or a copy.

    Raises:
        LayoutError: nothing of KiTS23 is there, or segmentations alone.
    """
    folder = checked_folder(folder, _EXPECTED)
    found: dict[str, dict[str, list[Path]]] = {"image": {}, "label": {}}
    for kind, number, path in _files(folder):
        found[kind].setdefault(number, []).append(path)
    pairs, left_out = paired(found["image"], found["label"], "kits23_")
    cases = [
        FoundCase(f"kits23_{number}", f"kits23_{number}", image, label, NAMES)
        for number, (image, label) in pairs.items()
    ]
    return refuse_if_nothing(Found(cases, left_out, released=489), folder, _EXPECTED)


def _files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Kind, id and path of each file, in both layouts."""
    for path in sorted(folder.rglob("*.nii*")):
        stem = path.name.split(".nii")[0]
        nested, flat = _CASE.fullmatch(path.parent.name), _CASE.fullmatch(stem)
        if nested and stem in _NESTED:
            yield _NESTED[stem], nested[1], path
        elif flat and path.parent.name in _FLAT:
            yield _FLAT[path.parent.name], flat[1], path

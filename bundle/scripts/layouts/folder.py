"""Any folder of images and label maps with a table of label values.

`images/NAME.nii.gz` beside `labels/NAME.nii.gz`, or `imagesTr` beside `labelsTr` as in the Medical Segmentation
Decathlon and nnU-Net (an image may end in `_0000`). The table is `labels.json` in the folder, `{"liver": 1, "kidney":
[2, 3]}`, or the key `labels` of a `dataset.json`, in either order (`{"1": "liver"}` as well). `imagesTs` with
`labelsTs` is an official test part, then the others are training.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..datasets.datalist import name_of_image
from .found_cases import Found, FoundCase, LayoutError, checked_folder, files_by_id, paired, refuse_if_nothing

_PARTS = (("images", "labels", None), ("imagesTr", "labelsTr", "training"), ("imagesTs", "labelsTs", "test"))
_IMAGE, _LABEL = re.compile(r"(.+?)(?:_0000)?\.nii(?:\.gz)?"), re.compile(r"(.+?)\.nii(?:\.gz)?")
_TABLES = ("labels.json", "dataset.json")
_EXPECTED = (
    "images/NAME.nii.gz and labels/NAME.nii.gz (or imagesTr and labelsTr), and labels.json with the values by name, "
    '{"liver": 1, "kidney": [2, 3]}'
)


def find_cases(folder: str | Path, label_names: str | Path | None = None) -> Found:
    """The cases of a folder; a patient is one image, unless fingerprints tell otherwise.

    Args:
        folder: holds the folders of images and label maps.
        label_names: the JSON table of values by name; default: `labels.json` or `dataset.json` in the folder.

    Raises:
        LayoutError: nothing is there, or there is no table that can be read.
    """
    folder = checked_folder(folder, _EXPECTED)
    found: dict[str, list] = {"cases": [], "left_out": []}
    has_test = (folder / "labelsTs").is_dir()
    names: dict[str, list[int]] | None = None
    for images, labels, split in _PARTS:
        kinds = ((images, _IMAGE), (labels, _LABEL))
        files = [files_by_id((folder / name).glob("*.nii*"), pattern) for name, pattern in kinds]
        if not any(files) or (images == "imagesTs" and not has_test):
            continue
        pairs, left_out = paired(*files, "")
        found["left_out"] += left_out
        names = names or _table(folder, label_names)
        for stem, (image, label) in pairs.items():
            case = name_of_image(stem)
            found["cases"].append(FoundCase(case, case, image, label, names, split=split if has_test else None))
    return refuse_if_nothing(Found(**found), folder, _EXPECTED)


def _table(folder: Path, given: str | Path | None) -> dict[str, list[int]]:
    paths = [Path(given)] if given is not None else [folder / name for name in _TABLES]
    path = next((path for path in paths if path.is_file()), None)
    legal = 'names with whole numbers above 0, as {"liver": 1, "kidney": [2, 3]}'
    if path is None:
        looked = " and ".join(str(path) for path in paths)
        raise LayoutError(
            "bad_table", f"there is no table of label values ({looked}); write one, {legal}, or give `label_names`"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LayoutError("bad_table", f"{path} is not JSON ({error}); give {legal}") from error
    if path.name == "dataset.json" and isinstance(content, dict):
        content = content.get("labels")
    if not isinstance(content, dict):
        raise LayoutError("bad_table", f"{path} holds no table of label values; give {legal}")
    table: dict[str, list[int]] = {}
    for key, value in content.items():
        name, values = _named_values(key, value, f"{path} has {key!r}: {value!r}; give {legal}")
        if name is not None:
            table.setdefault(name, []).extend(values)
    return _without_repeats(table, path)


def _named_values(key: str, value: Any, message: str) -> tuple[str | None, list[int]]:
    """Name and values of a line in either order; no name for the background."""
    if key.isdecimal() and isinstance(value, str):
        key, value = value, int(key)
    values = value if isinstance(value, list) else [value]
    if not key.strip() or not values or not all(type(number) is int and number >= 0 for number in values):
        raise LayoutError("bad_table", message)
    return (None, []) if values == [0] or key.lower() == "background" else (key, values)


def _without_repeats(table: dict[str, list[int]], path: Path) -> dict[str, list[int]]:
    values = [value for several in table.values() for value in several]
    twice = sorted({value for value in values if values.count(value) > 1 or value == 0})
    if twice or not table:
        found = f"the values {twice} under several names" if twice else "no label"
        raise LayoutError("bad_table", f"{path} has {found}; each value above 0 belongs to one name")
    return table

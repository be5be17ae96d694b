"""M3D-RefSeg: CTs with questions of its own about parts of a mask.

A CSV with `Image, Mask, Mask_ID, Question_Type, Question, Answer` beside the folders of the cases, each with
`ct.nii.gz`, `mask.nii.gz` and `text.json`. Question_Type is 0 for a description, 1 for one that needs reasoning. A file
whose name says "test" or "train" is that part; the rest has no official split.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from .found_cases import Found, FoundCase, LayoutError, LeftOut, checked_folder, refuse_if_nothing

_COLUMNS = ("Image", "Mask", "Mask_ID", "Question_Type", "Question", "Answer")
_TYPES = {"0": "description", "1": "reasoning"}
_EXPECTED = f"a CSV with the columns {', '.join(_COLUMNS)}, and a folder a case with ct.nii.gz and mask.nii.gz"


def find_cases(folder: str | Path) -> Found:
    """The cases of M3D-RefSeg with their questions.

    Args:
        folder: what was downloaded, unpacked.

    Raises:
        LayoutError: no such table is there, or one with a row that cannot be read.
    """
    folder = checked_folder(folder, _EXPECTED)
    rows: dict[tuple[Path, Path], list[dict[str, Any]]] = {}
    splits: dict[tuple[Path, Path], str | None] = {}
    for path in sorted(folder.rglob("*.csv")):
        for number, row in _rows_of(path):
            files = _on_disk(path, row["Image"]), _on_disk(path, row["Mask"])
            question = _question(row, f"row {number} of {path}")
            asked = rows.setdefault(files, [])
            if question not in asked:  # a table of everything beside tables of its parts
                asked.append(question)
            splits[files] = _split_of(path) or splits.get(files)
    cases, left_out = [], []
    for (image, label), questions in rows.items():
        case = f"m3d_refseg_{image.parent.name}"
        missing = [(reason, file) for reason, file in (("no_image", image), ("no_label", label)) if not file.is_file()]
        if missing:
            reason, file = missing[0]
            left_out.append(LeftOut(case, reason, f"{file} is not there: download it"))
            continue
        values = sorted({value for question in questions for value in question["label_values"]})
        names = {f"mask {value}": [value] for value in values}
        split = splits[image, label]
        cases.append(FoundCase(case, case, image, label, names, split=split, questions=tuple(questions)))
    return refuse_if_nothing(Found(cases, left_out), folder, _EXPECTED)


def _rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line, of a table that has the columns; none of another table."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not set(_COLUMNS[:5]) <= set(reader.fieldnames or ()):
            return []
        return [(reader.line_num, row) for row in reader]


def _question(row: dict[str, Any], where: str) -> dict[str, Any]:
    value, kind, query = ((row[key] or "").strip() for key in ("Mask_ID", "Question_Type", "Question"))
    if not value.isdecimal() or value == "0" or kind not in _TYPES or not query:
        raise LayoutError(
            "bad_table",
            f"{where} has Mask_ID {value!r}, Question_Type {kind!r} and Question {query!r}; need a whole number above "
            f"0, one of {', '.join(_TYPES)}, and a text: correct the row, or download the table again",
        )
    return {"query": query, "label_values": [int(value)], "target": f"mask {value}", "type": _TYPES[kind]}


def _split_of(path: Path) -> str | None:
    for word, split in (("test", "test"), ("train", "training")):
        if word in path.stem.lower():
            return split
    return None


def _on_disk(path: Path, listed: str) -> Path:
    """A listed path: relative to the table's folder or to the one above, as the copies have it."""
    tried = [parent / listed for parent in list(path.parents)[:2]]
    return next((file for file in tried if file.is_file()), tried[0])

"""Lists of cases on disk, as users write them: one reader and one schema for every run that reads one.

A list is JSON: `[{"image", ...}, ...]`, paths relative to its folder, every text verbatim.

| key | what |
|---|---|
| `image` | the volume: a NIfTI file, the folder of a DICOM series, or a file of that series; always needed |
| `query` | the question; judged with its volume, so that one bad query does not stop the others |
| `key_slice`, `bbox_2d_list`, `point_2d_list` | for inference: a person's evidence, see `volume.correction` |
| `label` | the target's mask on the image's grid |
| `label_values` | the values of `label` that are meant, whole numbers; default: all but 0 |
| `opposite_label`, `opposite_values` | the same of the target's counterpart on the other side of the body |
| `case` | name of the case and of its folder, unique; default: the image's file or folder name |
| `target`, `type`, `laterality`, `patient`, `paraphrase_group`, `subset` | what kind of question it is; texts |
| `marks` | box and points that mark the target on a single image, as an answer of the form "image" has them |
| `implicitness` | how far the wording is from the target's name, a whole number |

Other keys are not read. A `Use` says what a run needs beside the image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from ..anchor import ANSWER_KEYS, POINTS_KEY, EvidenceAnchor, parse_answer
from ..json_list import read_json_list
from ..volume.dicom_headers import is_dicom
from ..volume.io import nifti_stem

PATHS = ("image", "label", "opposite_label")
TEXTS = ("target", "type", "laterality", "patient", "paraphrase_group", "subset")
VALUES = ("label_values", "opposite_values")

# A case names a folder and files on any system.
_NOT_IN_A_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
_ENDING = re.compile(r"\.(dcm|png|jpe?g|tiff?|bmp|gif)$", re.IGNORECASE)
LONGEST_NAME = 150
"""Characters of the name of a case, at most."""


class DatalistError(ValueError):
    """A list of cases that cannot be used at all."""


class Use(NamedTuple):
    """What a run needs of its list.

    `called`: the list, in errors. `config_keys`: where its path comes from. `required`: the keys of each entry.
    `all_files`: whether every file must be there at the start. A training run would stop at a file that is missing
    after hours; an inference run reports it and goes on.
    """

    called: str
    config_keys: str
    required: tuple[str, ...]
    all_files: bool


CASES = Use("the datalist", "config key `datalist`", ("image", "query"), all_files=False)
_OF_TRAINING = "config keys `train_datalist`, `validation_datalist`"
TRAINING = Use("the training list", _OF_TRAINING, ("image", "label", "query"), all_files=True)
PROPAGATOR_TRAINING = Use("the list of volumes", _OF_TRAINING, ("image", "label"), all_files=True)


def read_datalist(path: str | Path, use: Use = CASES) -> list[dict[str, Any]]:
    """Reads a list of cases.

    Args:
        path: the JSON file.
        use: what the run needs.

    Returns:
        The entries with paths that do not depend on the current folder, a unique `case` each, and without the optional
        keys that are null.

    Raises:
        DatalistError: no such file, not JSON, not a list, empty, an entry that lacks a key or has one that is not
            legal, two cases of one name, or, where `use` wants all files, some that are not there.
    """
    path = Path(path)
    wanted = f"a JSON list of objects with {_listed(use.required)}"
    entries = read_json_list(path, use.called, use.config_keys, wanted, DatalistError)
    numbered = enumerate(entries, start=1)
    cases = _named([_checked(entry, use, f"entry {number} of {path}", path.parent) for number, entry in numbered])
    if use.all_files:
        _check_files(cases, f"{use.called} {path}")
    return cases


def name_of_image(path: str | Path) -> str:
    """The name of a case that was given none: its image's file name without `.nii.gz`, `.dcm` or the ending of a
    picture, or the name of its folder; legal as a folder."""
    stem = _ENDING.sub("", nifti_stem(os.path.abspath(path)))
    return _NOT_IN_A_NAME.sub("_", stem)[:LONGEST_NAME].strip(". ") or "case"


def unique_name(stem: str, taken: Container[str]) -> str:
    """The name of a case that is not taken: the stem, or the stem with a number, from 2 on."""
    numbered = (f"{stem}_{number}" for number in count(2))
    return next(name for name in chain([stem], numbered) if name not in taken)


def _checked(entry: object, use: Use, where: str, folder: Path) -> dict[str, Any]:
    """One entry, with its paths made independent of the current folder."""
    if not isinstance(entry, dict):
        raise DatalistError(f"{where} is {entry!r}; give an object with {_listed(use.required)}.")
    for key in use.required:
        if key not in entry:
            raise DatalistError(f'{where} has no "{key}"; {_listed(use.required)} are needed.')
    for key in ("case", *PATHS):
        if not isinstance(entry.get(key, ""), str) or entry.get(key) == "":
            raise DatalistError(f'"{key}" of {where} is {entry[key]!r}; give a text that is not empty.')
    case = {key: str(folder / entry[key]) for key in PATHS if key in entry}
    case |= _description(entry, where)
    case |= {key: entry[key] for key in ("query", *ANSWER_KEYS, POINTS_KEY) if key in entry}
    if "case" in entry:
        case["case"] = _checked_name(entry["case"], where)
    return case


def _description(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The optional keys of an entry that are not null."""
    found = {key: entry[key] for key in (*TEXTS, *VALUES, "implicitness", "marks") if entry.get(key) is not None}
    for key, value in found.items():
        if key in VALUES:
            legal = "a list of whole numbers, at least one"
            fits = isinstance(value, list) and value and all(type(number) is int for number in value)
        elif key == "marks":
            legal = 'an object with "bbox", "points_1" and "points_2", whole numbers from 0 to 1000'
            fits = isinstance(value, dict) and isinstance(parse_answer(value, 1, "image"), EvidenceAnchor)
        elif key == "implicitness":
            legal, fits = "a whole number", type(value) is int
        else:
            legal, fits = "a text", isinstance(value, str)
        if not fits:
            raise DatalistError(f'"{key}" of {where} is {value!r}; give {legal}, or leave it out.')
    return found


def _checked_name(name: str, where: str) -> str:
    if _NOT_IN_A_NAME.search(name) or name.strip(". ") != name or len(name) > LONGEST_NAME:
        raise DatalistError(
            f'"case" of {where} is {name!r}; it names a folder: at most {LONGEST_NAME} characters, '
            'none of \\ / : * ? " < > |, no dot or blank at either end.'
        )
    return name


def _named(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases with a unique name each: their own, or the file's, numbered from the second on."""
    names = [case["case"] for case in cases if "case" in case]
    taken = set(names)
    if len(taken) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatalistError(f"the case name {twice!r} stands twice in the datalist; names must differ.")
    for case in cases:
        if "case" not in case:
            case["case"] = unique_name(name_of_image(case["image"]), taken)
            taken.add(case["case"])
    return cases


def _check_files(cases: list[dict[str, Any]], called: str) -> None:
    """That every file is there: all that are missing are named, so that one look mends the list."""
    paths = dict.fromkeys(case[key] for case in cases for key in PATHS if key in case)
    images = {case["image"] for case in cases}
    # An image may be the folder of a DICOM series.
    missing = [path for path in paths if not (Path(path).is_file() or path in images and is_dicom(path))]
    if missing:
        files = "".join(f"\n  {path}" for path in missing)
        raise DatalistError(
            f"{len(missing)} of the {len(paths)} files of {called} are not there; correct their paths, which are "
            f"relative to the list's folder, or leave the entries out:{files}"
        )


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(f'"{key}"' for key in keys)

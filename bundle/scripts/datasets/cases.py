"""Which cases to run: a datalist, one image from the command line, or a demo; and the dataset that prepares them.

A query is read by Python alone, from the JSON file or from `sys.argv`: python-fire and MONAI's config parser would
change it ("liver, spleen" becomes a tuple, "$..." is evaluated). What is left of that on the command line of
`monai.bundle run`: a query that starts with `%` stops the parser before anything here is asked, one that starts with
`--` is taken for an option, and one that starts with `$import` is executed. A datalist and the `medvol-r1` command have
no such limits.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import Dataset

from ..command_arguments import argument_text
from ..errors import failure_of
from ..json_list import read_json_list
from .demo_cases import write_demo_cases

_logger = logging.getLogger(__name__)

# A case names a folder and files on any system.
_NOT_IN_A_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
_LONGEST_NAME = 150


PATHS = ("image", "label", "opposite_label")
"""Keys of an entry that are paths: the volume, the target's mask, and that of its counterpart on the other side."""

DESCRIPTORS = ("target", "type", "laterality", "patient", "paraphrase_group", "subset")
"""Keys of an entry that say what kind of question it is; texts. Beside them: `implicitness`, a whole number, and
`label_values` and `opposite_values`, the values of the two label files that are meant (default: all but 0)."""
_VALUES = ("label_values", "opposite_values")


class DatalistError(ValueError):
    """A list of cases that cannot be used at all."""


def read_cases(
    datalist: str | Path | None = None,
    image: str | Path | None = None,
    demo_dir: str | Path = "output/demo",
    arguments: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The cases of a run.

    Args:
        datalist: a JSON list of `{"image", "query", "case"?, "label"?}` and, optional, the keys of `DESCRIPTORS`; paths
            are relative to its folder.
        image: what the config's key `image` holds: given, one case is run, and its query is read from `arguments`.
        demo_dir: where a phantom is written when neither is given.
        arguments: of the command line; default: `sys.argv[1:]`.

    Returns:
        Dictionaries with `image`, `query` and `case`, and what else there is; case names are unique.

    Raises:
        DatalistError: the list cannot be read, or both or half of the two ways are given.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if datalist is not None:
        if image is not None:
            raise DatalistError("both `datalist` and `image` are given; give one of them.")
        return read_datalist(datalist)
    query = argument_text(arguments, "query")
    if image is None:
        if query is not None:
            raise DatalistError(f"there is a query, {query!r}, and no image; add `--image FILE`.")
        return read_datalist(write_demo_cases(demo_dir))
    if query is None:
        raise DatalistError(
            "there is an image and no query; add `--query TEXT` to the command line. "
            "A run that is started from Python takes a `datalist`."
        )
    path = argument_text(arguments, "image")
    return _named([{"image": str(image) if path is None else path, "query": query}])


def read_datalist(path: str | Path) -> list[dict[str, Any]]:
    """Reads a JSON list of cases, every text verbatim.

    Raises:
        DatalistError: no such file, not JSON, not a list, empty, an entry without a key, or two cases of one name.
    """
    path = Path(path)
    wanted = 'a JSON list of {"image", "query"} entries'
    entries = read_json_list(path, "the datalist", "config key `datalist`", wanted, DatalistError)
    numbered = enumerate(entries, start=1)
    return _named([_checked(entry, f"entry {number} of {path}", path.parent) for number, entry in numbered])


class CaseDataset(Dataset):
    """Prepares cases; one that cannot be prepared becomes a record of its failure instead of an error.

    Args:
        data: from `read_cases`.
        transform: the preprocessing.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable | None = None) -> None:
        super().__init__(data, transform)

    def _transform(self, index: int) -> dict[str, Any]:
        """The prepared case, or `{"case", "failure": {"case", "reason", "message"}}`."""
        case = self.data[index]["case"]
        try:
            return super()._transform(index)
        except Exception as error:  # whatever it is, the other cases are still to be done
            _logger.debug("case %s cannot be prepared", case, exc_info=True)
            return {"case": case, "failure": failure_of(error, case)}


def _checked(entry: object, where: str, folder: Path) -> dict[str, Any]:
    """One entry of a datalist, with its paths made independent of the current folder."""
    if not isinstance(entry, dict):
        raise DatalistError(f'{where} is {entry!r}; give an object with "image" and "query".')
    for key in ("image", "query"):
        if key not in entry:
            raise DatalistError(f'{where} has no "{key}".')
    for key in ("case", *PATHS):
        if not isinstance(entry.get(key, ""), str) or entry.get(key) == "":
            raise DatalistError(f'"{key}" of {where} is {entry[key]!r}; give a text that is not empty.')
    case = {key: str(folder / entry[key]) for key in PATHS if key in entry}
    case |= _description(entry, where)
    case["query"] = entry["query"]  # judged with the volume, so that one bad query does not stop the others
    if "case" in entry:
        name = entry["case"]
        if _NOT_IN_A_NAME.search(name) or name.strip(". ") != name or len(name) > _LONGEST_NAME:
            raise DatalistError(
                f'"case" of {where} is {name!r}; it names a folder: at most {_LONGEST_NAME} characters, '
                'none of \\ / : * ? " < > |, no dot or blank at either end.'
            )
        case["case"] = name
    return case


def _description(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The optional keys of an entry that are not null."""
    found = {key: entry[key] for key in (*DESCRIPTORS, *_VALUES, "implicitness") if entry.get(key) is not None}
    for key, value in found.items():
        if key in _VALUES:
            legal = "a list of whole numbers, at least one"
            fits = isinstance(value, list) and value and all(type(number) is int for number in value)
        elif key == "implicitness":
            legal, fits = "a whole number", type(value) is int
        else:
            legal, fits = "a text", isinstance(value, str)
        if not fits:
            raise DatalistError(f'"{key}" of {where} is {value!r}; give {legal}, or leave it out.')
    return found


def _named(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases with a unique name each: their own, or the file's, numbered from the second on."""
    names = [case["case"] for case in cases if "case" in case]
    taken = set(names)
    if len(taken) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatalistError(f"the case name {twice!r} stands twice in the datalist; names must differ.")
    for case in cases:
        if "case" not in case:
            case["case"] = next(name for name in _names_from(case["image"]) if name not in taken)
            taken.add(case["case"])
    return cases


def _names_from(path: str) -> Iterator[str]:
    stem = re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    stem = _NOT_IN_A_NAME.sub("_", stem)[:_LONGEST_NAME].strip(". ") or "case"
    yield stem
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1

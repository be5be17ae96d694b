"""What a reader finds in the folder of a data set: its cases, and what is left out with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ReasonedError
from ..volume.windows import CT

LAYOUT_FAILURES = (
    # The folder cannot be read at all.
    "wrong_folder",
    "split_archive",
    "packed_archive",
    "half_download",
    "bad_table",
    # One case cannot be used.
    "no_image",
    "no_label",
    "duplicate_case",
    "bad_row",
)
_SPLIT_ARCHIVE = re.compile(r"\.(z\d\d|zip\.\d+|7z\.\d+|tar(\.gz)?\.(a[a-z]|\d+)|part\d+\.rar)$", re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(zip|7z|tar|tgz|tar\.gz|rar)$", re.IGNORECASE)
_UNFINISHED = re.compile(r"\.(part|partial|crdownload|aria2|incomplete|download|tmp)$", re.IGNORECASE)
_MOST_NAMED = 6


class LayoutError(ReasonedError):
    """A folder, or a case in it, that is not what the data set's reader knows; its reasons are LAYOUT_FAILURES."""

    reasons = LAYOUT_FAILURES


class FoundCase(NamedTuple):
    """A volume with its labels, not yet opened."""

    case: str
    """its name, legal as a file's"""
    patient: str
    image: Path
    label: Path
    names: Mapping[str, list[int]]
    """the values of the label file by name; an organ of several values is their union"""
    split: str | None = None
    """"training", "validation" or "test" of the official split; None without one"""
    spacing_is_doubted: bool = False
    """a spacing of exactly 1 x 1 x 1 mm is known to be wrong"""
    axes: str | None = None
    """where the axes of an array without a header point, as released, nibabel's codes ("LPS"); None: not known"""
    questions: tuple[dict[str, Any], ...] = ()
    """entries of a datalist, of a data set that brings its own: "query", "label_values", ..."""
    intensity: str = CT
    """what the values of its image are, see `volume.windows.INTENSITIES`"""


class LeftOut(NamedTuple):
    """A case that is not used: `reason` is of LAYOUT_FAILURES, of VOLUME_FAILURES or of CASE_FAILURES."""

    case: str
    reason: str
    message: str


class Found(NamedTuple):
    """All of a data set. `released`: how many cases with labels the release has, None where that is not known."""

    cases: list[FoundCase]
    left_out: list[LeftOut]
    released: int | None = None


def files_by_id(paths: Iterable[Path], pattern: re.Pattern[str]) -> dict[str, list[Path]]:
    """The files whose name is the pattern, by its first group; several of one id are duplicates."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        match = pattern.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append(path)
    return found


def paired(
    images: Mapping[str, list[Path]], labels: Mapping[str, list[Path]], prefix: str
) -> tuple[dict[str, tuple[Path, Path]], list[LeftOut]]:
    """Image and label by id, where there is one of each; and why the others are left out.

    Args:
        images, labels: from `files_by_id`.
        prefix: of a case's name, before its id.
    """
    pairs, left_out = {}, []
    for number in sorted({*images, *labels}):
        reason = _unpaired(images.get(number, []), labels.get(number, []))
        if reason is None:
            pairs[number] = images[number][0], labels[number][0]
        else:
            left_out.append(LeftOut(prefix + number, *reason))
    return pairs, left_out


def pairs_below(
    folder: Path, image: re.Pattern[str], label: re.Pattern[str], prefix: str
) -> tuple[dict[str, tuple[Path, Path]], list[LeftOut]]:
    """`paired` for NIfTI files anywhere below a folder whose names are one of two patterns."""
    files = [path for path in folder.rglob("*.nii*") if path.is_file()]
    return paired(files_by_id(files, image), files_by_id(files, label), prefix)


def _unpaired(images: list[Path], labels: list[Path]) -> tuple[str, str] | None:
    """Why the files of an id are no pair, if they are not."""
    for files in (images, labels):
        if len(files) > 1:
            return "duplicate_case", f"{listed(map(str, files))} are the same case; remove all but one"
    if not labels:
        return "no_label", f"{images[0]} has no label map"
    if not images:
        return "no_image", f"{labels[0]} has no image; download it, or remove the label map"
    return None


def checked_folder(folder: str | Path, expected: str) -> Path:
    """The folder of a data set.

    Raises:
        LayoutError: "wrong_folder": it is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LayoutError(
            "wrong_folder", f"dataset_dir {folder} is not a folder; give `dataset_dir` the one with {expected}"
        )
    return folder


def refuse_if_nothing(found: Found, folder: Path, expected: str) -> Found:
    """The same, if there is a case to use or to tell of.

    Raises:
        LayoutError: nothing of the data set was found, or only one half of every case: what was expected, what the
            folder holds instead, and what to do.
    """
    if found.cases:
        return found
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for pattern, reason, advice in (
        (_UNFINISHED, "half_download", "a download is not finished: go on with it"),
        (_SPLIT_ARCHIVE, "split_archive", "parts of a split archive: join and unpack them first, `7z x` of the first "
         "part, or `cat NAME.zip.* > NAME.zip && unzip NAME.zip`"),
        (_ARCHIVE, "packed_archive", "an archive that is not unpacked: unpack it first"),
    ):  # fmt: skip
        hits = [name for name in names if pattern.search(name)]
        if hits:
            raise LayoutError(reason, f"dataset_dir {folder} holds {listed(hits)}: {advice}. Expected: {expected}")
    if found.left_out:
        told = "; ".join(left.message for left in found.left_out[:2])
        raise LayoutError(
            "half_download",
            f"dataset_dir {folder} has {len(found.left_out)} cases of which none is complete, for example: {told}. "
            f"Expected: {expected}",
        )
    held = listed(names) if names else "no files"
    raise LayoutError(
        "wrong_folder", f"dataset_dir {folder} holds {held}. Expected: {expected}. Correct `dataset_dir` or `dataset`"
    )


def listed(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """The first of some names, and how many more there are.

    >>> listed("abcd", most=2)
    'a, b and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Which cases are asked: every query of every image, as entries of a datalist."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..datasets.datalist import LONGEST_NAME, name_of_image, unique_name
from ..images.picture_file import is_picture
from ..volume.dicom_headers import named_series
from ..volume.nifti_file import NIFTI_ENDINGS


def asked_cases(images: Sequence[str], queries: Sequence[str]) -> list[dict[str, str]]:
    """The entries of a datalist, all queries of an image behind each other: the model then encodes it once.

    Args:
        images: paths of volumes and single images, and of folders that hold several, see `images_in`.
        queries: texts, each asked about each image.

    Returns:
        `image`, an absolute path, `query` and `case`, which is called after the image.
    """
    paths = list(dict.fromkeys(os.path.abspath(path) for image in images for path in images_in(image)))
    taken: set[str] = set()
    entries = []
    for path, name in zip(paths, _names(paths), strict=True):
        for query in queries:
            case = unique_name(name, taken)
            taken.add(case)
            entries.append({"image": path, "query": query, "case": case})
    return entries


def images_in(path: str) -> list[str]:
    """The volumes and images that a path means: a file itself; of a folder its NIfTI files in the order of their names,
    or, where it has none, its CT series, or, where nothing of it is DICOM, its pictures."""
    if not os.path.isdir(path):
        return [path]
    files = sorted(entry.path for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith("."))
    volumes = [file for file in files if file.lower().endswith(NIFTI_ENDINGS)]
    return volumes or named_series(path) or list(filter(is_picture, files)) or [path]


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each path: its file or folder, with as many folders before it as tell all of them apart."""

    def names(depth: int) -> list[str]:
        return [name_of_image("_".join(Path(path).parts[-depth:]))[: LONGEST_NAME - 10] for path in paths]

    deepest = max(len(Path(path).parts) for path in paths)
    distinct = (found for found in map(names, range(1, deepest + 1)) if len(set(found)) == len(paths))
    return next(distinct, names(1))  # alike only where names differ in what no folder may have: numbered then

"""The folder whose studies may be opened, and nothing outside of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..volume.dicom_headers import is_dicom
from ..volume.nifti_file import NIFTI_ENDINGS
from .failures import ServiceError


class Available(NamedTuple):
    """A study that may be opened: `path` below the folder with forward slashes, `name`, `kind` "nifti" or "dicom"."""

    path: str
    name: str
    kind: str


class StudiesFolder:
    """Volumes below a folder: NIfTI files, and folders of DICOM files.

    Links are followed only to what lies below the folder as well. Hidden files and folders are not shown.

    Args:
        root: None: there is no such folder, and nothing can be opened from one.
        most_listed: longest list.

    Raises:
        ValueError: `root` is no folder.
    """

    def __init__(self, root: str | os.PathLike | None, most_listed: int = 1000) -> None:
        if root is not None and not os.path.isdir(root):
            raise ValueError(f"--studies {os.fspath(root)!r} is no folder; name the folder of your CT volumes.")
        self.root = None if root is None else Path(root).resolve()
        self.most_listed = most_listed

    def available(self) -> list[Available]:
        """What may be opened, by path; no file is read but the start of the first one of a folder."""
        if self.root is None:
            return []
        found = []
        for available in self._walk(self.root):
            found.append(available)
            if len(found) == self.most_listed:
                break
        return sorted(found)

    def path_of(self, text: str) -> Path:
        """The file or folder of a path that a user gives, links resolved.

        Args:
            text: below the folder, as `available` lists it.

        Raises:
            ServiceError: `unknown_path`: absolute, outside, through a link that leads outside, or not there. The
                message does not tell which, so that nobody learns what lies outside.
        """
        refused = ServiceError(
            "unknown_path", f"there is no study {text[:200]!r}; give a path that the list of studies has."
        )
        if self.root is None or not text or "\0" in text or os.path.isabs(text):
            raise refused
        try:
            path = (self.root / text).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:  # not there, too long, a circle of links, not a path
            raise refused from error
        if not self._is_inside(path) or path == self.root or not (path.is_dir() or _is_nifti(path.name)):
            raise refused
        if path.is_dir() and not all(self._is_inside(file) for file in _files_below(path)):
            raise refused
        return path

    def _walk(self, folder: Path) -> Iterator[Available]:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        entries = [entry for entry in entries if not entry.name.startswith(".")]
        files = [entry for entry in entries if self._is_inside(entry.path) and entry.is_file()]
        volumes = [entry for entry in files if _is_nifti(entry.name)]
        others = [entry for entry in files if not _is_nifti(entry.name)]
        if folder != self.root and not volumes and others and is_dicom(others[0].path):
            yield Available(self._relative(folder), folder.name, "dicom")
        for entry in volumes:
            yield Available(self._relative(entry.path), entry.name, "nifti")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))

    def _relative(self, path: str | os.PathLike) -> str:
        return Path(path).relative_to(self.root or "").as_posix()

    def _is_inside(self, path: str | os.PathLike) -> bool:
        """Whether what a path leads to, through links too, lies below the folder."""
        try:
            return self.root is not None and Path(path).resolve().is_relative_to(self.root)
        except (OSError, RuntimeError):  # a circle of links
            return False


def _is_nifti(name: str) -> bool:
    return name.lower().endswith(NIFTI_ENDINGS)


def _files_below(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)

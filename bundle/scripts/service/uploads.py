"""Files that users send: kept in a temporary folder, few enough and small enough, under names of our own."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import BinaryIO

from ..volume.nifti_file import NIFTI_ENDINGS
from .failures import ServiceError

_BLOCK = 2**20
# The end of a zip archive (APPNOTE 4.3.16), and what an entry of its list of files takes, names of 200 characters.
_END_RECORD = 22
_BYTES_AN_ENTRY = 256


class Uploads:
    """Studies that were sent.

    Args:
        most_bytes: of one of them, packed and unpacked.
        most_count: of them at a time.
        most_files: in one archive.
    """

    def __init__(self, most_bytes: int = 2**30, most_count: int = 16, most_files: int = 5000) -> None:
        self.most_bytes, self.most_count, self.most_files = most_bytes, most_count, most_files
        self.folder = Path(mkdtemp(prefix="medvol_r1_uploads_"))
        self._kept: set[Path] = set()
        self._lock = Lock()

    def take(self, file: BinaryIO, name: str) -> Path:
        """Keeps a file: `.nii` or `.nii.gz` as it is, of a `.zip` the files in a folder.

        Args:
            file: open for reading.
            name: that it had; only its ending counts.

        Returns:
            Where it lies; to be given to `remove`.

        Raises:
            ServiceError: `not_a_study`, `too_large`, `too_many_files` or `too_many_studies`.
        """
        ending = next((end for end in (*NIFTI_ENDINGS, ".zip") if name.lower().endswith(end)), None)
        if ending is None:
            raise ServiceError(
                "not_a_study", f"{name[-100:]!r} ends in none of .nii, .nii.gz and .zip (of a DICOM series)."
            )
        with self._lock:
            if len(self._kept) >= self.most_count:
                raise ServiceError(
                    "too_many_studies", f"{self.most_count} uploads are open, the most there may be; close one."
                )
            folder = Path(mkdtemp(dir=self.folder))
            self._kept.add(folder)
        try:
            if ending == ".zip":
                self._unpack(file, folder)
                return folder
            path = folder / f"volume{ending}"
            with path.open("wb") as kept:
                _copy(file, kept, self.most_bytes)
            return path
        except BaseException:
            self.remove(folder)
            raise

    def remove(self, path: Path) -> None:
        """Removes what `take` returned; other paths are left alone."""
        folder = path if path.parent == self.folder else path.parent
        with self._lock:
            known = folder in self._kept
            self._kept.discard(folder)
        if known:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Removes all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unpack(self, file: BinaryIO, folder: Path) -> None:
        left = self.most_bytes
        _check_directory(file, self.most_files)
        try:
            with zipfile.ZipFile(file) as archive:
                for number, member in enumerate(self._members(archive)):
                    # Names of the archive are not looked at: they may lead anywhere.
                    with archive.open(member) as packed, (folder / f"{number:05d}.dcm").open("wb") as kept:
                        left -= _copy(packed, kept, left)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ServiceError("not_a_study", f"the archive cannot be unpacked: {error}.") from error

    def _members(self, archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > self.most_files:
            raise ServiceError(
                "too_many_files", f"the archive holds {len(members)} files, at most {self.most_files} are legal."
            )
        for member in members:
            *folders, name = member.filename.split("/")
            if "__MACOSX" not in folders and not name.startswith(".") and name != "DICOMDIR":
                yield member


def _check_directory(file: BinaryIO, most_files: int) -> None:
    """That an archive's list of files is short: `zipfile` reads all of it, however long it is.

    Raises:
        ServiceError: `too_many_files`.
    """
    file.seek(0, os.SEEK_END)
    file.seek(max(file.tell() - _END_RECORD - 2**16, 0))  # the last record is followed by a comment
    tail = file.read()
    file.seek(0)
    for found in re.finditer(rb"PK\x05\x06", tail):
        size = int.from_bytes(tail[found.start() + 12 : found.start() + 16], "little")
        if size > most_files * _BYTES_AN_ENTRY:
            raise ServiceError(
                "too_many_files",
                f"the archive's list of files takes {size:,} bytes, too much for the {most_files} files that may be.",
            )


def _copy(source: BinaryIO, target: BinaryIO, most_bytes: int) -> int:
    """Copies a file block by block; returns its bytes.

    Raises:
        ServiceError: `too_large`.
    """
    copied = 0
    while block := source.read(_BLOCK):
        copied += len(block)
        if copied > most_bytes:
            raise ServiceError("too_large", f"the file is larger than {most_bytes / 2**20:,.0f} MiB, unpacked.")
        target.write(block)
    return copied

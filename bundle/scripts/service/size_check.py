"""How much memory a file asks for, found out before any of it is taken: headers lie, and gzip hides gigabytes."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

import nibabel as nib
from monai.utils import optional_import

from ..volume.dicom_headers import is_dicom
from ..volume.dicom_series import find_series
from .failures import ServiceError

pydicom, _ = optional_import("pydicom")

_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
# Comments and extensions of a header: nibabel reads them whole.
_LONGEST_EXTENSIONS = 2**20
_BYTES_A_VOXEL = 4  # float32, as volumes are read
_BLOCK = 2**20


def check_size(path: str | os.PathLike, most_bytes: int, most_files: int) -> None:
    """Reads a volume's headers, and of a gzip file no more than its header promises.

    Args:
        path: as `volume.io.read_volume` takes it.
        most_bytes: that its voxels may take in memory, as float32.
        most_files: that the folder of a DICOM series may hold.

    Raises:
        ServiceError: `too_large` or `too_many_files`.
        VolumeError: a DICOM series that cannot be used. What else is wrong with a NIfTI file is found by who reads it.
    """
    if is_dicom(path):
        _check_folder(path, most_bytes, most_files)
        columns, rows, slices = find_series(path, in_hu=False).shape  # what its values are is the reader's to say
        _check_bytes(path, math.prod((columns, rows, slices)) * _BYTES_A_VOXEL, most_bytes)
    elif os.path.isfile(path):
        _check_nifti(path, most_bytes)


def _check_nifti(path: str | os.PathLike, most_bytes: int) -> None:
    with _content(path) as file:
        try:
            start = file.read(_HEADER_BYTES)
            header = _header(start)
        except Exception:  # no NIfTI, or one that is damaged: the reader tells which
            return
        size = [int(length) for length in header["dim"][1:8]][: max(int(header["dim"][0]), 0)]
        voxels = math.prod(max(length, 1) for length in size)
        _check_bytes(path, voxels * max(_BYTES_A_VOXEL, int(header["bitpix"]) // 8), most_bytes)
        offset = float(header["vox_offset"])
        if not offset <= _LONGEST_EXTENSIONS:
            raise ServiceError(
                "too_large",
                f"{_name(path)} has its voxels {offset:g} bytes behind its start; at most {_LONGEST_EXTENSIONS} are "
                "legal: save it without extensions.",
            )
        promised = offset + voxels * int(header["bitpix"]) // 8
        read = len(start)
        try:
            while block := file.read(_BLOCK):
                read += len(block)
                if read > promised + _LONGEST_EXTENSIONS:
                    raise ServiceError(
                        "too_large", f"{_name(path)} goes on behind the {promised:.0f} bytes that its header promises."
                    )
        except (EOFError, OSError, zlib.error):
            return  # it ends early, or something else follows the gzip: the reader says so


def _header(start: bytes) -> nib.Nifti1Header:
    """The header that a file starts with, as it stands there."""
    kind = nib.Nifti2Header if int.from_bytes(start[:4], "little") in (540, 0x1C020000) else nib.Nifti1Header
    return kind.from_fileobj(BytesIO(start), check=False)


@contextmanager
def _content(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """What a file holds, unpacked as it is read."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def _check_folder(path: str | os.PathLike, most_bytes: int, most_files: int) -> None:
    """The files of a series, before pydicom reads one of them."""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    count = total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(place, name)
            if not os.path.isfile(file):
                continue
            count, total = count + 1, total + os.path.getsize(file)
            if count > most_files:
                raise ServiceError(
                    "too_many_files",
                    f"{_name(path)} holds more than {most_files} files; name the folder of one series.",
                )
            if _is_deflated(file):
                raise ServiceError(
                    "too_large",
                    f"{_name(path)} holds {name!r}, which is deflated as a whole: how large it is shows only when it "
                    "is unpacked. Unpack it first (dcmconv +te).",
                )
    _check_bytes(path, total, most_bytes)


def _is_deflated(file: str) -> bool:
    if not is_dicom(file):
        return False
    try:
        meta = pydicom.filereader.read_file_meta_info(file)
        return bool(meta.TransferSyntaxUID.is_deflated)
    except Exception:  # damaged: who reads it says so
        return False


def _check_bytes(path: str | os.PathLike, wanted: int, most_bytes: int) -> None:
    if wanted > most_bytes:
        raise ServiceError(
            "too_large",
            f"{_name(path)} would take {wanted / 2**20:,.0f} MiB in memory, at most {most_bytes / 2**20:,.0f} MiB are "
            "legal; crop or resample it.",
        )


def _name(path: str | os.PathLike) -> str:
    """Of a file, without the folders of the server."""
    return repr(os.path.basename(os.fspath(path)))

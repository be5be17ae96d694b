"""NIfTI files as they lie on disk: opened, and read slice by slice, so that no more is held than is asked for."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from io import BytesIO
from typing import Any

import nibabel as nib
import numpy as np

from .failures import VolumeError

NIFTI_ENDINGS = (".nii", ".nii.gz")


def open_nifti(path: str | os.PathLike) -> nib.Nifti1Pair:
    """The file as nibabel's image, voxels not yet read.

    Raises:
        VolumeError: the file is missing, is no NIfTI, or has a header that cannot be read.
    """
    if os.path.isdir(path):
        raise VolumeError(
            "not_nifti", f"{path} is a folder; a .nii or .nii.gz file is needed (convert DICOM with dcm2niix)"
        )
    if not os.path.isfile(path):
        raise VolumeError("missing_file", f"{path} does not exist; correct the path of `image` (or `label`)")
    try:
        image = nib.load(path)
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        raise VolumeError(
            "not_nifti",
            f"{path} is not a NIfTI volume, or ends inside its header ({error}); a .nii or .nii.gz file is needed",
        ) from error
    except Exception as error:  # nibabel computes with what a header holds, and has no error of its own for all of it
        raise VolumeError(
            "bad_header",
            f"{path} has a header that cannot be read ({type(error).__name__}: {error}); correct it (`w2`: the "
            "quaternion of its qform), or convert the volume anew",
        ) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise VolumeError(
            "not_nifti", f"{path} is {type(image).__name__}, not NIfTI; convert it to a .nii or .nii.gz file"
        )
    return image


def read_planes(path: str | os.PathLike, image: nib.Nifti1Pair, axis: int, index: np.ndarray) -> np.ndarray:
    """Some planes of a volume, with the header's slope and intercept applied.

    The file is read once, in its own order, a slice of its slowest axis at a time, and only the planes are kept. Where
    the planes are such slices, the others are skipped: not read at all without compression. The file must be whole all
    the same. It is not mapped into memory, for it may be replaced while it is in use.

    Args:
        path: of the file, for errors.
        image: from `open_nifti`, with the shape (X, Y, Z) or (X, Y, Z, 1, ...).
        axis: 0, 1 or 2, the one that the planes are stacked along.
        index: int64 [S], increasing, the planes of that axis to read.

    Returns:
        float32 [X,Y,Z], x fastest in memory, S long along `axis`.

    Raises:
        VolumeError: "truncated_file", when the file ends early or is damaged, also behind the last plane.

    Warns:
        UserWarning: when something else follows the volume in its gzip file.
    """
    shape = list(image.shape[:3])
    shape[axis] = len(index)
    planes = np.empty(shape, dtype=np.float32, order="F")
    try:
        with nib.openers.ImageOpener(str(image.file_map["image"].filename)) as file:
            for position, z in enumerate(index if axis == 2 else range(image.shape[2])):
                stored = _stored_slice(image, file, int(z))
                planes[..., position] = _scaled(image, stored if axis == 2 else stored.take(index, axis))
            _read_on(path, image, file)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise VolumeError(
            "truncated_file", f"{path} ends early or is damaged ({error}); copy or download it again"
        ) from error
    return planes


def _stored_slice(image: nib.Nifti1Pair, file: nib.openers.Opener, z: int) -> np.ndarray:
    """[X,Y] at an index of the file's slowest axis, as it is stored."""
    layout: Any = image.dataobj
    start = layout.offset + z * _slice_bytes(image)
    return nib.volumeutils.array_from_file(layout.shape[:2], layout.dtype, file, start, mmap=False)


def _scaled(image: nib.Nifti1Pair, stored: np.ndarray) -> np.ndarray:
    """With slope and intercept applied, through nibabel: whole or in parts, a volume is the same to the bit.

    As it is stored where there are none, else float32.
    """
    layout: Any = image.dataobj
    if (layout.slope, layout.inter) == (1, 0):
        return stored
    content = BytesIO(stored.tobytes(order="F"))
    part = nib.arrayproxy.ArrayProxy(content, (stored.shape, layout.dtype, 0, layout.slope, layout.inter), mmap=False)
    return np.asarray(part, dtype=np.float32)


def _slice_bytes(image: nib.Nifti1Pair) -> int:
    return image.shape[0] * image.shape[1] * image.get_data_dtype().itemsize


def _read_on(path: str | os.PathLike, image: nib.Nifti1Pair, file: nib.openers.Opener) -> None:
    """Read to the end of a file: voxels may be missing behind the last plane, and gzip compares its checksum there."""
    end = image.dataobj.offset + image.shape[2] * _slice_bytes(image)
    if file.tell() < end:
        file.seek(end - 1)
        if not file.read(1):
            raise EOFError(f"{end} bytes were expected")
    try:
        while file.read(2**20):
            pass
    except gzip.BadGzipFile as error:
        # The same error tells of a wrong checksum. This one is raised behind it: what follows is no gzip.
        if not str(error).startswith("Not a gzipped file"):
            raise
        warnings.warn(f"{path} has something else behind the end of its gzip, which was not read", stacklevel=2)

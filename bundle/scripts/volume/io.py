"""Reading CT volumes and label maps from NIfTI; a volume that cannot be used is an error that names its reason.

nibabel is called directly: MONAI's LoadImage hides a reader's error behind a list of installed readers, and its
NibabelReader rewrites headers silently.
"""

from __future__ import annotations

import gzip
import os
import re
import warnings
import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from .failures import VOLUME_FAILURES, VolumeError
from .grid import Grid, check_same_grid, checked_grid
from .voxel_values import doubt_of_hu, rounded_labels

__all__ = ["VOLUME_FAILURES", "LoadVolumed", "VolumeError", "nifti_stem", "read_volume"]


class LoadVolumed(MapTransform):
    """Load NIfTI volumes: path -> MetaTensor float32 [1,X,Y,Z] with its affine (RAS+ mm, float64) in the meta data.

    A trailing time or channel axis of length one is dropped. `meta["filename_or_obj"]` is the path as text.

    Args:
        keys: of the paths, for example ("image", "label").
        label_keys: those of `keys` that are label maps: they may be constant, must hold whole numbers (see
            `read_volume`), and must share shape and affine with the first key that is not a label.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        VolumeError: see VOLUME_FAILURES.

    Warns:
        UserWarning: see `read_volume`.
    """

    def __init__(
        self, keys: KeysCollection, label_keys: KeysCollection = ("label",), allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        reference: Grid | None = None
        # Images first, whatever the order of the keys: labels are compared with them.
        for key in sorted(self.key_iterator(loaded), key=lambda k: k in self.label_keys):
            path = loaded[key]
            is_label = key in self.label_keys
            voxels, affine = read_volume(path, is_label=is_label)
            grid = Grid(voxels.shape, affine, os.fspath(path))
            if is_label and reference is not None:
                check_same_grid(grid, reference)
            if not is_label and reference is None:
                reference = grid
            loaded[key] = MetaTensor(
                torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": grid.path}
            )
        return loaded


def read_volume(path: str | os.PathLike, *, is_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read one NIfTI volume and check it.

    Args:
        path: a `.nii` or `.nii.gz` file.
        is_label: a label map may be constant and need not be in HU. Its values are whole numbers: what is within 0.001
            of one is rounded; soft masks are refused, for nobody but their author knows the threshold.

    Returns:
        float32 [X,Y,Z] (HU for a CT) and the affine, float64 [4,4], voxel index to RAS+ mm: nibabel's choice of sform,
        then qform, then spacing alone.

    Raises:
        VolumeError: see VOLUME_FAILURES.

    Warns:
        UserWarning: when an image does not look like HU, has no orientation in its header or two that disagree, or
            when something else follows the volume in its gzip file.
    """
    image = _open(path)
    affine = checked_grid(path, image).affine
    voxels = _voxels(path, image)
    _check_finite(path, voxels, is_label)
    if is_label:
        return _checked_labels(path, voxels), affine
    _check_hu(path, voxels, image.get_data_dtype())
    return voxels, affine


def nifti_stem(path: str | os.PathLike) -> str:
    """A file's name without its folder and `.nii` or `.nii.gz`, upper case or lower."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


def _open(path: str | os.PathLike) -> nib.Nifti1Pair:
    """The file as nibabel's image, voxels not yet read."""
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


def _voxels(path: str | os.PathLike, image: nib.Nifti1Pair) -> np.ndarray:
    """float32 [X,Y,Z], with the header's slope and intercept applied."""
    stored: Any = image.dataobj
    layout = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
    try:
        with nib.openers.ImageOpener(str(image.file_map["image"].filename)) as file:
            # No memory map: the file may be replaced while the voxels are in use.
            voxels = np.asarray(nib.arrayproxy.ArrayProxy(file, layout, mmap=False), dtype=np.float32)
            _read_on(path, file)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise VolumeError(
            "truncated_file", f"{path} ends early or is damaged ({error}); copy or download it again"
        ) from error
    return voxels.reshape(voxels.shape[:3])


def _read_on(path: str | os.PathLike, file: nib.openers.Opener) -> None:
    """Read to the end of a file: nibabel stops at the last voxel, and gzip compares its checksum behind it."""
    try:
        while file.read(2**20):
            pass
    except gzip.BadGzipFile as error:
        # The same error tells of a wrong checksum. This one is raised behind it: what follows is no gzip.
        if not str(error).startswith("Not a gzipped file"):
            raise
        warnings.warn(f"{path} has something else behind the end of its gzip, which was not read", stacklevel=2)


def _check_finite(path: str | os.PathLike, voxels: np.ndarray, is_label: bool) -> None:
    if np.isfinite(voxels.min()) and np.isfinite(voxels.max()):
        return
    bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    remedy = "by 0 (background) or the label that is meant" if is_label else "for example by -1024 HU (air)"
    raise VolumeError(
        "non_finite_voxels", f"{path} has {bad} NaN or infinite voxels of {voxels.size}; replace them, {remedy}"
    )


def _checked_labels(path: str | os.PathLike, voxels: np.ndarray) -> np.ndarray:
    """The label map with whole values."""
    labels, soft = rounded_labels(voxels)
    if soft.any():
        raise VolumeError(
            "not_labels",
            f"{path} has {np.count_nonzero(soft)} voxels that are not whole numbers, for example {voxels[soft][0]:g}; "
            "a label map holds whole numbers: save labels, not probabilities, or threshold a soft mask first",
        )
    return labels


def _check_hu(path: str | os.PathLike, voxels: np.ndarray, stored: np.dtype) -> None:
    """Not constant, and like HU."""
    minimum, maximum = float(voxels.min()), float(voxels.max())
    if minimum == maximum:
        raise VolumeError(
            "constant_volume", f"all voxels of {path} are {minimum:g}; a CT in HU is needed: export it again"
        )
    doubt = doubt_of_hu(voxels)
    if doubt is not None:
        warnings.warn(
            f"{path} holds {stored} voxels from {minimum:g} to {maximum:g} that do not look like HU: {doubt}. The HU "
            "window will be wrong; export the CT with its rescale slope and intercept",
            stacklevel=2,
        )

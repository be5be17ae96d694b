"""Reading volumes and label maps from NIfTI, CT from DICOM, and single images, which are volumes of one slice; one that
cannot be used is an error that names its reason.

nibabel is called directly: MONAI's LoadImage hides a reader's error behind a list of installed readers, and its
NibabelReader rewrites headers silently.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from ..images.dicom_image import read_dicom_image
from ..images.failures import ImageError
from ..images.picture_file import is_picture, read_picture
from ..images.stored_image import StoredImage
from .dicom_headers import is_ct, is_dicom
from .dicom_series import find_series
from .failures import VOLUME_FAILURES, VolumeError
from .geometry import SliceGeometry, orientation_to_lps, source_slice, uniform_slice_index
from .grid import Grid, check_same_grid, checked_grid
from .nifti_file import open_nifti, read_planes
from .voxel_values import doubt_of_hu, looks_like_hu, rounded_labels
from .windows import CT, checked_intensity

__all__ = [
    "VOLUME_FAILURES",
    "LoadVolumed",
    "VolumeError",
    "is_single_image",
    "nifti_stem",
    "read_slices",
    "read_volume",
]


class LoadVolumed(MapTransform):
    """Load volumes: path -> MetaTensor float32 [C,X,Y,Z] with its affine (RAS+ mm, float64) in the meta data.

    C is 1, or 3 of a coloured image. A trailing time or channel axis of length one is dropped.
    `meta["filename_or_obj"]` is the path as text; `meta["has_spacing"]` is False where a pixel counts as 1 mm for want
    of its size.

    Args:
        keys: of the paths, for example ("image", "label").
        label_keys: those of `keys` that are label maps: they may be constant, must hold whole numbers (see
            `read_volume`), and must share shape and affine with the first key that is not a label.
        allow_missing_keys: skip keys that the data lacks.
        intensity: what the values of images are, see `windows.INTENSITIES`.

    Raises:
        VolumeError: see VOLUME_FAILURES.
        ValueError: an unknown intensity.

    Warns:
        UserWarning: see `read_volume`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        allow_missing_keys: bool = False,
        intensity: str = CT,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.intensity = checked_intensity(intensity)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        reference: Grid | None = None
        # Images first, whatever the order of the keys: labels are compared with them.
        for key in sorted(self.key_iterator(loaded), key=lambda k: k in self.label_keys):
            is_label = key in self.label_keys
            loaded[key], grid = self._read(key, loaded[key])
            if is_label and reference is not None:
                check_same_grid(grid, reference)
            if not is_label and reference is None:
                reference = grid
        return loaded

    def _read(self, key: Hashable, path: str | os.PathLike) -> tuple[MetaTensor, Grid]:
        """What becomes of a path, and the grid of its file."""
        voxels, affine = read_volume(path, is_label=key in self.label_keys, intensity=self.intensity)
        channels = with_channels(voxels)
        grid = Grid(channels.shape[1:], affine, os.fspath(path))
        meta = {"filename_or_obj": grid.path, "has_spacing": has_spacing(path)}
        return MetaTensor(torch.from_numpy(channels), affine=torch.from_numpy(affine), meta=meta), grid


def read_volume(
    path: str | os.PathLike, *, is_label: bool = False, intensity: str = CT
) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume and check it.

    Args:
        path: a `.nii` or `.nii.gz` file, or a picture (see `images.picture_file`). An image may be DICOM as well: the
            folder of a CT series, or a file of it, see `dicom_series`; with another intensity than "ct" also the folder
            of a series of MR or PET, and a file of another class, see `images.dicom_image`.
        is_label: a label map may be constant and need not be in HU. Its values are whole numbers: what is within 0.001
            of one is rounded; soft masks are refused, for nobody but their author knows the threshold.
        intensity: what the values of an image are, see `windows.INTENSITIES`.

    Returns:
        float32 [X,Y,Z], or [3,X,Y,1] of a coloured image (HU for a CT), and the affine, float64 [4,4], voxel index to
        RAS+ mm: nibabel's choice of sform, then qform, then spacing alone; of an image see `StoredImage.affine`.

    Raises:
        VolumeError: see VOLUME_FAILURES.

    Warns:
        UserWarning: when an image does not look like HU, or looks like them and is said to be of another modality, has
            no orientation in its header or two that disagree, or when something else follows the volume in its gzip
            file.
    """
    file = _opened(path, is_label, intensity)
    voxels = file.planes(2, np.arange(file.grid.shape[2]))
    return _checked(path, voxels, is_label, intensity, file.stored), file.grid.affine


def read_slices(
    path: str | os.PathLike,
    num_slices: int,
    *,
    is_label: bool = False,
    intensity: str = CT,
    source_slice_index: int | None = None,
) -> tuple[np.ndarray, SliceGeometry]:
    """Read the slices of a volume that are shown, see `uniform_slice_index`, and nothing else of its voxels.

    What is wrong with the file, its header or its end is found as by `read_volume`. Voxel values (finite, whole, not
    constant, like HU) are judged by the slices read: what is never shown can do no harm.

    Args:
        path: see `read_volume`.
        num_slices: slices to show; a volume with fewer keeps them all.
        is_label: see `read_volume`.
        intensity: see `read_volume`.
        source_slice_index: show this one alone, 0-based along the source's axial axis; None: `num_slices` of them.

    Returns:
        float32 [X,Y,Z], or [3,X,Y,1], in the order of the file, with the shown slices alone along its axial axis; and
        their geometry.

    Raises:
        VolumeError: see VOLUME_FAILURES.
        ValueError: when `num_slices` is below 1, or the source has no slice of that index.

    Warns:
        UserWarning: see `read_volume`.
    """
    file = _opened(path, is_label, intensity)
    grid = file.grid
    orientation = orientation_to_lps(grid.affine)
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    index = uniform_slice_index(grid.shape[axis], num_slices)
    if source_slice_index is not None:
        index = _index_of_source(source_slice_index, grid.shape[axis], orientation[axis, 1] < 0)
    geometry = SliceGeometry(grid.shape, grid.affine, orientation, index)
    planes = np.sort([source_slice(geometry, shown) for shown in range(len(index))])
    return _checked(path, file.planes(axis, planes), is_label, intensity, file.stored), geometry


def with_channels(voxels: np.ndarray) -> np.ndarray:
    """[C,X,Y,Z] of what `read_volume` returns."""
    return voxels if voxels.ndim == 4 else voxels[None]


def is_single_image(path: str | os.PathLike) -> bool:
    """Whether a file is an image of its own, not a volume: a picture, or a DICOM file of another class than CT, whose
    files mean their series."""
    return is_picture(path) or os.path.isfile(path) and is_dicom(path) and not is_ct(path)


def has_spacing(path: str | os.PathLike) -> bool:
    """Whether a file says how large its voxels are: a picture does not, nor do some DICOM images."""
    if is_picture(path):
        return False
    return not is_dicom(path) or is_ct(path) or read_dicom_image(path).spacing_mm is not None


def nifti_stem(path: str | os.PathLike) -> str:
    """A file's name without its folder and `.nii` or `.nii.gz`, upper case or lower."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


class _Opened(NamedTuple):
    """A file or series whose header was read: its grid, the type of its stored voxels, and what reads planes of it, by
    their axis (0, 1 or 2) and their indices: float32 [X,Y,Z]."""

    grid: Grid
    stored: np.dtype
    planes: Callable[[int, np.ndarray], np.ndarray]


def _opened(path: str | os.PathLike, is_label: bool, intensity: str) -> _Opened:
    if is_picture(path):
        if intensity == CT and not is_label:
            raise VolumeError(
                "not_hu",
                f"{path} is a picture, whose grey values are no HU; set `intensity` to full_range (or percentiles), or "
                "name the CT that it was made of",
            )
        return _of_image(path, partial(read_picture, path, is_label=is_label))
    if is_dicom(path) and not is_label:
        if intensity != CT and is_single_image(path):
            return _of_image(path, partial(read_dicom_image, path))
        series = find_series(path, in_hu=intensity == CT)
        return _Opened(Grid(series.shape, series.affine, series.path), np.dtype(np.float32), series.read_planes)
    image = open_nifti(path)
    return _Opened(checked_grid(path, image), image.get_data_dtype(), partial(read_planes, path, image))


def _of_image(path: str | os.PathLike, read: Callable[[], StoredImage]) -> _Opened:
    """A volume of one slice, which is all of its planes."""
    try:
        image = read()
    except ImageError as error:
        raise VolumeError(error.reason, str(error)) from error
    grid = Grid(image.shape, image.affine, os.fspath(path))
    return _Opened(grid, image.pixels.dtype, lambda axis, index: image.voxels)


def _index_of_source(source: int, num_slices: int, is_flipped: bool) -> np.ndarray:
    """The index along the superior axis, int64 [1], of a slice of the source."""
    if not 0 <= source < num_slices:
        raise ValueError(f"slice_index is {source}; 0 to {num_slices - 1} are legal (config key `slice_index`)")
    return np.array([num_slices - 1 - source if is_flipped else source], dtype=np.int64)


def _checked(
    path: str | os.PathLike, voxels: np.ndarray, is_label: bool, intensity: str, stored: np.dtype
) -> np.ndarray:
    """The voxels that were read, float32 [X,Y,Z] or [3,X,Y,1], if their values can be used."""
    _check_finite(path, voxels, is_label)
    if is_label:
        return _checked_labels(path, voxels)
    _check_varied(path, voxels, intensity)
    if intensity == CT:
        _check_hu(path, voxels, stored)
    elif looks_like_hu(voxels):
        warnings.warn(
            f"{path} has the values of a CT in HU, and `intensity` is {intensity!r}: it is shown without a window; set "
            "`intensity` to ct",
            stacklevel=2,
        )
    return voxels


def _check_finite(path: str | os.PathLike, voxels: np.ndarray, is_label: bool) -> None:
    if np.isfinite(voxels.min()) and np.isfinite(voxels.max()):
        return
    bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    remedy = "by 0 (background) or the label that is meant" if is_label else "for example by -1024 HU (air)"
    raise VolumeError(
        "non_finite_voxels", f"{path} has {bad} NaN or infinite voxels of {voxels.size}; replace them, {remedy}"
    )


def _checked_labels(path: str | os.PathLike, voxels: np.ndarray) -> np.ndarray:
    """The label map with whole values, rounded in place, plane by plane: nothing more of its size is made."""
    soft = np.concatenate([_rounded_in_place(plane) for plane in voxels.T])
    if soft.size:
        raise VolumeError(
            "not_labels",
            f"{path} has {soft.size} voxels that are not whole numbers, for example {soft[0]:g}; "
            "a label map holds whole numbers: save labels, not probabilities, or threshold a soft mask first",
        )
    return voxels


def _rounded_in_place(plane: np.ndarray) -> np.ndarray:
    """The values that were no whole numbers."""
    rounded, is_soft = rounded_labels(plane)
    soft = plane[is_soft]
    plane[...] = rounded
    return soft


def _check_varied(path: str | os.PathLike, voxels: np.ndarray, intensity: str) -> None:
    """Not constant."""
    if voxels.min() == voxels.max():
        wanted = "a CT in HU" if intensity == CT else "an image that shows something"
        raise VolumeError(
            "constant_volume",
            f"all voxels of {path} that were read are {voxels.min():g}; {wanted} is needed: export it again",
        )


def _check_hu(path: str | os.PathLike, voxels: np.ndarray, stored: np.dtype) -> None:
    """Warn where a CT is not like HU."""
    doubt = doubt_of_hu(voxels)
    if doubt is not None:
        warnings.warn(
            f"{path} holds {stored} voxels from {voxels.min():g} to {voxels.max():g} that do not look like HU: "
            f"{doubt}. The HU window will be wrong; export the CT with its rescale slope and intercept, or set "
            "`intensity` to percentiles for another modality",
            stacklevel=2,
        )

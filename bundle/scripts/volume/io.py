"""Reading CT volumes and label maps from NIfTI, and CT volumes from DICOM; one that cannot be used is an error that
names its reason.

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

from .dicom_headers import is_dicom
from .dicom_series import find_series
from .failures import VOLUME_FAILURES, VolumeError
from .geometry import SliceGeometry, orientation_to_lps, source_slice, uniform_slice_index
from .grid import Grid, check_same_grid, checked_grid
from .nifti_file import open_nifti, read_planes
from .voxel_values import doubt_of_hu, rounded_labels

__all__ = ["VOLUME_FAILURES", "LoadVolumed", "VolumeError", "nifti_stem", "read_slices", "read_volume"]


class LoadVolumed(MapTransform):
    """Load volumes: path -> MetaTensor float32 [1,X,Y,Z] with its affine (RAS+ mm, float64) in the meta data.

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
            is_label = key in self.label_keys
            loaded[key], grid = self._read(key, loaded[key])
            if is_label and reference is not None:
                check_same_grid(grid, reference)
            if not is_label and reference is None:
                reference = grid
        return loaded

    def _read(self, key: Hashable, path: str | os.PathLike) -> tuple[MetaTensor, Grid]:
        """What becomes of a path, and the grid of its file."""
        voxels, affine = read_volume(path, is_label=key in self.label_keys)
        grid = Grid(voxels.shape, affine, os.fspath(path))
        meta = {"filename_or_obj": grid.path}
        return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine), meta=meta), grid


def read_volume(path: str | os.PathLike, *, is_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume and check it.

    Args:
        path: a `.nii` or `.nii.gz` file. An image may be DICOM as well: the folder of a series, or a file of it, see
            `dicom_series`.
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
    file = _opened(path, is_label)
    voxels = file.planes(2, np.arange(file.grid.shape[2]))
    return _checked(path, voxels, is_label, file.stored), file.grid.affine


def read_slices(
    path: str | os.PathLike, num_slices: int, *, is_label: bool = False
) -> tuple[np.ndarray, SliceGeometry]:
    """Read the slices of a volume that are shown, see `uniform_slice_index`, and nothing else of its voxels.

    What is wrong with the file, its header or its end is found as by `read_volume`. Voxel values (finite, whole, not
    constant, like HU) are judged by the slices read: what is never shown can do no harm.

    Args:
        path: see `read_volume`.
        num_slices: slices to show; a volume with fewer keeps them all.
        is_label: see `read_volume`.

    Returns:
        float32 [X,Y,Z] in the order of the file, with the shown slices alone along its axial axis; and their geometry.

    Raises:
        VolumeError: see VOLUME_FAILURES.
        ValueError: when `num_slices` is below 1.

    Warns:
        UserWarning: see `read_volume`.
    """
    file = _opened(path, is_label)
    grid = file.grid
    orientation = orientation_to_lps(grid.affine)
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    index = uniform_slice_index(grid.shape[axis], num_slices)
    geometry = SliceGeometry(grid.shape, grid.affine, orientation, index)
    planes = np.sort([source_slice(geometry, shown) for shown in range(len(index))])
    return _checked(path, file.planes(axis, planes), is_label, file.stored), geometry


def nifti_stem(path: str | os.PathLike) -> str:
    """A file's name without its folder and `.nii` or `.nii.gz`, upper case or lower."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


class _Opened(NamedTuple):
    """A file or series whose header was read: its grid, the type of its stored voxels, and what reads planes of it, by
    their axis (0, 1 or 2) and their indices: float32 [X,Y,Z]."""

    grid: Grid
    stored: np.dtype
    planes: Callable[[int, np.ndarray], np.ndarray]


def _opened(path: str | os.PathLike, is_label: bool) -> _Opened:
    if is_dicom(path) and not is_label:
        series = find_series(path)
        return _Opened(Grid(series.shape, series.affine, series.path), np.dtype(np.float32), series.read_planes)
    image = open_nifti(path)
    return _Opened(checked_grid(path, image), image.get_data_dtype(), partial(read_planes, path, image))


def _checked(path: str | os.PathLike, voxels: np.ndarray, is_label: bool, stored: np.dtype) -> np.ndarray:
    """The voxels that were read, float32 [X,Y,Z], if their values can be used."""
    _check_finite(path, voxels, is_label)
    if is_label:
        return _checked_labels(path, voxels)
    _check_hu(path, voxels, stored)
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
            "constant_volume",
            f"all voxels of {path} that were read are {minimum:g}; a CT in HU is needed: export it again",
        )
    doubt = doubt_of_hu(voxels)
    if doubt is not None:
        warnings.warn(
            f"{path} holds {stored} voxels from {minimum:g} to {maximum:g} that do not look like HU: {doubt}. The HU "
            "window will be wrong; export the CT with its rescale slope and intercept",
            stacklevel=2,
        )

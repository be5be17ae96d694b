"""Where the voxels of a NIfTI volume lie: its shape and affine, checked, and whether a label lies on its image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform

from .failures import VolumeError

# A label may sit off its image by this fraction of the smallest voxel edge: float32 headers round to far less.
_ALLOWED_SHIFT = 0.1
# sform and qform may differ by this fraction of it: from here on they put a voxel on another one.
_FORMS_APART = 0.5


class Grid(NamedTuple):
    """`shape` (X, Y, Z), `affine` float64 [4,4] (voxel index to RAS+ mm), and the `path` of the file, for errors."""

    shape: tuple[int, ...]
    affine: np.ndarray
    path: str


def checked_grid(path: str | os.PathLike, image: nib.Nifti1Pair) -> Grid:
    """The grid of a NIfTI file.

    Raises:
        VolumeError: not three axes, several channels, bad spacing, or a singular affine.

    Warns:
        UserWarning: when the header has no orientation, or two that disagree.
    """
    _check_shape(path, image)
    return Grid(tuple(image.shape[:3]), _checked_affine(path, image), os.fspath(path))


def check_same_grid(label: Grid, image: Grid) -> None:
    """Check that a label map lies voxel on voxel on its image.

    Raises:
        VolumeError: "label_mismatch", when the shapes differ or a corner is off by more than a tenth of a voxel.
    """
    names = f"label {label.path} and image {image.path}"
    allowed_mm = _ALLOWED_SHIFT * np.linalg.norm(image.affine[:3, :3], axis=0).min()
    if _in_another_order(label, image, allowed_mm):
        axes = ["".join(nib.aff2axcodes(grid.affine)) for grid in (label, image)]
        raise VolumeError(
            "label_mismatch",
            f"{names} lie on one grid, but their axes run in other directions ({axes[0]} and {axes[1]}; dcm2niix turns "
            "the rows of DICOM around): save the label in the order of the image, or name the volume that it was drawn "
            "on as `image`",
        )
    if label.shape != image.shape:
        raise VolumeError(
            "label_mismatch",
            f"{names} have shapes {label.shape} and {image.shape}; resample the label to the image's grid",
        )
    shift_mm = _shift_mm(label.shape, label.affine, image.affine)
    if shift_mm > allowed_mm:
        raise VolumeError(
            "label_mismatch",
            f"{names} have different affines: a corner is off by {shift_mm:.3g} mm, at most {allowed_mm:.3g} mm is "
            "legal; resample the label to the image's grid, or correct its header",
        )


def _in_another_order(label: Grid, image: Grid, allowed_mm: float) -> bool:
    """Whether the voxels of a label are those of its image, with axes permuted or flipped."""
    turn = ornt_transform(io_orientation(label.affine), io_orientation(image.affine))
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return False
    shape = tuple(label.shape[axis] for axis in np.argsort(turn[:, 0]))
    affine = label.affine @ inv_ornt_aff(turn, label.shape)
    return shape == image.shape and _shift_mm(shape, affine, image.affine) <= allowed_mm


def _shift_mm(shape: Sequence[int], first: np.ndarray, second: np.ndarray) -> float:
    """How far two affines put a corner of one grid apart, at most."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shape[:3]) - 1
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def _check_shape(path: str | os.PathLike, image: nib.Nifti1Pair) -> None:
    """Three axes, or more of which the further ones have length one."""
    shape = image.shape
    if len(shape) < 3 or 0 in shape:
        raise VolumeError(
            "not_3d", f"{path} has shape {shape}; a volume [X,Y,Z] is needed (a single slice has Z = 1, not two axes)"
        )
    if any(n != 1 for n in shape[3:]):
        raise VolumeError(
            "several_channels",
            f"{path} has shape {shape}: {int(np.prod(shape[3:]))} channels or time points; exactly one is legal, "
            "save the one that is meant as its own [X,Y,Z] file",
        )
    if image.get_data_dtype().kind not in "iuf":
        raise VolumeError(
            "several_channels",
            f"{path} has voxels of type {image.get_data_dtype()} (colour or complex); one real number a voxel is legal",
        )


def _checked_affine(path: str | os.PathLike, image: nib.Nifti1Pair) -> np.ndarray:
    """The affine, float64 [4,4], after checks of the header's spacing and of the affine itself."""
    # nibabel repairs bad spacing silently as it loads: read the header once more as it stands in the file.
    holder = image.file_map.get("header", image.file_map["image"])
    with nib.openers.ImageOpener(str(holder.filename)) as file:
        pixdim = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4].astype(np.float64)
    affine = np.array(image.affine, dtype=np.float64)
    edges_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()) or (edges_mm == 0).any():
        raise VolumeError(
            "bad_spacing",
            f"{path} has spacing (pixdim) {pixdim.tolist()} mm and affine columns of length {edges_mm.tolist()} mm; "
            "all must be positive: correct the header",
        )
    # Volume of the voxel over that of a box with the same edges: 1 when orthogonal, 0 when two axes coincide.
    volume_ratio = abs(np.linalg.det(affine[:3, :3] / edges_mm)) if np.isfinite(affine).all() else 0.0
    if volume_ratio < 1e-3:
        raise VolumeError(
            "singular_affine",
            f"{path} has a singular or non-finite affine {affine[:3].tolist()}; its three axes must be independent: "
            "correct the header",
        )
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        warnings.warn(
            f"{path} has neither sform nor qform: its orientation is unknown and read as {nib.aff2axcodes(affine)}; "
            "left and right may be swapped",
            stacklevel=2,
        )
    _compare_forms(path, image, affine)
    return affine


def _compare_forms(path: str | os.PathLike, image: nib.Nifti1Pair, sform: np.ndarray) -> None:
    """Warn where a header says in two ways where the volume lies, and they disagree."""
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    if 0 in codes:
        return
    try:
        qform = image.header.get_qform()
    except ValueError as error:
        found = f"the qform cannot be read ({error})"
    else:
        shift_mm = _shift_mm(image.shape, sform, qform)
        if shift_mm <= _FORMS_APART * np.linalg.norm(sform[:3, :3], axis=0).min():
            return
        axes = ["".join(nib.aff2axcodes(form)) for form in (sform, qform)]
        found = f"they disagree by up to {shift_mm:.3g} mm (axes {axes[0]} and {axes[1]})"
    warnings.warn(
        f"{path} has an sform (code {codes[0]}) and a qform (code {codes[1]}), and {found}; the sform was taken, other "
        "tools may take the qform: correct the header",
        stacklevel=2,
    )

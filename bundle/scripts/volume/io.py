"""Reading CT volumes and label maps from NIfTI; a volume that cannot be used is an error that names its reason.

nibabel is called directly: MONAI's LoadImage hides a reader's error behind a list of installed readers, and its
NibabelReader rewrites headers silently.
"""

from __future__ import annotations

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

from ..errors import ReasonedError

VOLUME_FAILURES = (
    "missing_file",
    "not_nifti",
    "truncated_file",
    "not_3d",
    "several_channels",
    "bad_spacing",
    "singular_affine",
    "non_finite_voxels",
    "constant_volume",
    "label_mismatch",
)

# A label may sit off its image by this fraction of the smallest voxel edge: float32 headers round to far less.
_ALLOWED_SHIFT = 0.1


class VolumeError(ReasonedError):
    """A volume that cannot be used; its reasons are VOLUME_FAILURES."""

    reasons = VOLUME_FAILURES


class LoadVolumed(MapTransform):
    """Load NIfTI volumes: path -> MetaTensor float32 [1,X,Y,Z] with its affine (RAS+ mm, float64) in the meta data.

    A trailing time or channel axis of length one is dropped. `meta["filename_or_obj"]` is the path as text.

    Args:
        keys: of the paths, for example ("image", "label").
        label_keys: those of `keys` that are label maps: they may be constant, and must share shape and affine with
            the first key that is not a label.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        VolumeError: see VOLUME_FAILURES.

    Warns:
        UserWarning: when an image has no voxel below 0 (it cannot be HU), or no orientation in its header.
    """

    def __init__(
        self, keys: KeysCollection, label_keys: KeysCollection = ("label",), allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        reference: MetaTensor | None = None
        # Images first, whatever the order of the keys: labels are compared with them.
        for key in sorted(self.key_iterator(loaded), key=lambda k: k in self.label_keys):
            path = loaded[key]
            is_label = key in self.label_keys
            voxels, affine = read_volume(path, is_label=is_label)
            volume = MetaTensor(
                torch.from_numpy(voxels)[None],
                affine=torch.from_numpy(affine),
                meta={"filename_or_obj": os.fspath(path)},
            )
            if is_label and reference is not None:
                check_same_grid(volume, reference)
            if not is_label and reference is None:
                reference = volume
            loaded[key] = volume
        return loaded


def read_volume(path: str | os.PathLike, *, is_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read one NIfTI volume and check it.

    Args:
        path: a `.nii` or `.nii.gz` file.
        is_label: a label map may be constant and need not be in HU.

    Returns:
        float32 [X,Y,Z] (HU for a CT) and the affine, float64 [4,4], voxel index to RAS+ mm: nibabel's choice of sform,
        then qform, then spacing alone.

    Raises:
        VolumeError: see VOLUME_FAILURES.
    """
    image = _open(path)
    _check_shape(path, image)
    affine = _checked_affine(path, image)
    voxels = _voxels(path, image)
    _check_voxels(path, voxels, image.get_data_dtype(), is_label)
    return voxels, affine


def nifti_stem(path: str | os.PathLike) -> str:
    """A file's name without its folder and `.nii` or `.nii.gz`, upper case or lower."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


def check_same_grid(label: MetaTensor, image: MetaTensor) -> None:
    """Check that a label map [1,X,Y,Z] lies voxel on voxel on its image [1,X,Y,Z].

    Raises:
        VolumeError: "label_mismatch", when the shapes differ or a corner is off by more than a tenth of a voxel.
    """
    names = f"label {label.meta['filename_or_obj']} and image {image.meta['filename_or_obj']}"
    shapes = tuple(label.shape[1:]), tuple(image.shape[1:])
    if shapes[0] != shapes[1]:
        raise VolumeError(
            "label_mismatch", f"{names} have shapes {shapes[0]} and {shapes[1]}; resample the label to the image's grid"
        )
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shapes[0]) - 1
    affines = label.affine.numpy(), image.affine.numpy()
    shift_mm = np.linalg.norm(corners @ (affines[0] - affines[1]).T, axis=1).max()
    allowed_mm = _ALLOWED_SHIFT * np.linalg.norm(affines[1][:3, :3], axis=0).min()
    if shift_mm > allowed_mm:
        raise VolumeError(
            "label_mismatch",
            f"{names} have different affines: a corner is off by {shift_mm:.3g} mm, at most {allowed_mm:.3g} mm is "
            "legal; resample the label to the image's grid, or correct its header",
        )


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
    if not isinstance(image, nib.Nifti1Pair):
        raise VolumeError(
            "not_nifti", f"{path} is {type(image).__name__}, not NIfTI; convert it to a .nii or .nii.gz file"
        )
    return image


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
    return affine


def _voxels(path: str | os.PathLike, image: nib.Nifti1Pair) -> np.ndarray:
    """float32 [X,Y,Z], with the header's slope and intercept applied."""
    stored: Any = image.dataobj
    layout = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
    try:
        with nib.openers.ImageOpener(str(image.file_map["image"].filename)) as file:
            # No memory map: the file may be replaced while the voxels are in use.
            voxels = np.asarray(nib.arrayproxy.ArrayProxy(file, layout, mmap=False), dtype=np.float32)
            # nibabel stops at the last voxel; gzip compares its checksum only at the end of the file.
            while file.read(2**20):
                pass
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise VolumeError(
            "truncated_file", f"{path} ends early or is damaged ({error}); copy or download it again"
        ) from error
    return voxels.reshape(voxels.shape[:3])


def _check_voxels(path: str | os.PathLike, voxels: np.ndarray, stored: np.dtype, is_label: bool) -> None:
    """Finite, and for an image not constant and plausible as HU."""
    minimum, maximum = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(minimum) and np.isfinite(maximum)):
        bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
        raise VolumeError(
            "non_finite_voxels",
            f"{path} has {bad} NaN or infinite voxels of {voxels.size}; replace them, for example by -1024 HU (air)",
        )
    if is_label:
        return
    if minimum == maximum:
        raise VolumeError(
            "constant_volume", f"all voxels of {path} are {minimum:g}; a CT in HU is needed: export it again"
        )
    if minimum >= 0:
        warnings.warn(
            f"{path} holds {stored} voxels from {minimum:g} to {maximum:g}, none below 0: not HU, and the HU window "
            "will be wrong; export the CT with its rescale slope and intercept",
            stacklevel=2,
        )

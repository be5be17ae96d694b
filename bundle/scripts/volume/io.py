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
from collections.abc import Hashable, Mapping, Sequence
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
from .voxel_values import doubt_of_hu, rounded_labels

VOLUME_FAILURES = (
    "missing_file",
    "not_nifti",
    "truncated_file",
    "not_3d",
    "several_channels",
    "bad_header",
    "bad_spacing",
    "singular_affine",
    "non_finite_voxels",
    "constant_volume",
    "not_labels",
    "label_mismatch",
)

# A label may sit off its image by this fraction of the smallest voxel edge: float32 headers round to far less.
_ALLOWED_SHIFT = 0.1
# sform and qform may differ by this fraction of it: from here on they put a voxel on another one.
_FORMS_APART = 0.5


class VolumeError(ReasonedError):
    """A volume that cannot be used; its reasons are VOLUME_FAILURES."""

    reasons = VOLUME_FAILURES


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
    _check_shape(path, image)
    affine = _checked_affine(path, image)
    voxels = _voxels(path, image)
    _check_finite(path, voxels, is_label)
    if is_label:
        return _checked_labels(path, voxels), affine
    _check_hu(path, voxels, image.get_data_dtype())
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
    affines = label.affine.numpy(), image.affine.numpy()
    shift_mm = _shift_mm(shapes[0], *affines)
    allowed_mm = _ALLOWED_SHIFT * np.linalg.norm(affines[1][:3, :3], axis=0).min()
    if shift_mm > allowed_mm:
        raise VolumeError(
            "label_mismatch",
            f"{names} have different affines: a corner is off by {shift_mm:.3g} mm, at most {allowed_mm:.3g} mm is "
            "legal; resample the label to the image's grid, or correct its header",
        )


def _shift_mm(shape: Sequence[int], first: np.ndarray, second: np.ndarray) -> float:
    """How far two affines put a corner of one grid apart, at most."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shape[:3]) - 1
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


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

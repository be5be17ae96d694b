"""Where the shown slices lie in the source volume, and the way back.

The shown slices are axial, in LPS: columns run from the patient's right to the left, rows from anterior to posterior,
slices from inferior to superior. How they came from the source volume is data that travels with the image
(:class:`SliceGeometry`), never a convention that the way back assumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch.nn.functional import interpolate, pad

# Source slices restored at a time: bounds the float32 working memory to about 100 MB at 512 x 512.
_SLICES_AT_A_TIME = 32


def orientation_to_lps(affine: np.ndarray) -> np.ndarray:
    """The axis permutation and flips that bring a volume nearest to LPS.

    Args:
        affine: [4,4], voxel index to RAS+ mm, not singular.

    Returns:
        int64 [3,2], nibabel's orientation array: row i holds the LPS axis that source axis i becomes, and 1, or -1
        where it is flipped.
    """
    source = nib.orientations.io_orientation(affine)
    target = nib.orientations.axcodes2ornt(("L", "P", "S"))
    return nib.orientations.ornt_transform(source, target).astype(np.int64)


def uniform_slice_index(num_total: int, num_shown: int) -> np.ndarray:
    """Uniformly spread slice indices, the first and the last slice included (paper, Section 3: uniform axial sampling).

    Args:
        num_total: slices of the volume, at least 1.
        num_shown: slices wanted, at least 1. A volume with fewer slices keeps them all; a single wanted slice is the
            middle one.

    Returns:
        int64 [S], strictly increasing, S = min(num_shown, num_total).

    Raises:
        ValueError: when a count is below 1.
    """
    if num_total < 1 or num_shown < 1:
        raise ValueError(f"num_slices: {num_shown} slices of {num_total} were asked for; both must be at least 1")
    if num_shown == 1:
        return np.array([num_total // 2], dtype=np.int64)
    return np.linspace(0, num_total - 1, min(num_shown, num_total)).round().astype(np.int64)


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """The map between the shown slices and the source volume.

    Attributes:
        source_shape: voxels of the source volume along its own axes (X, Y, Z).
        source_affine: float64 [4,4], source voxel index to RAS+ mm.
        orientation: int64 [3,2], source to LPS, see :func:`orientation_to_lps`.
        source_index: int64 [S], for each shown slice its index along the superior axis of the LPS volume.
        crop_xyxy_px: what is shown of a slice of the LPS volume, in its pixels, half-open; it may reach beyond the
            slice. None: all of it. See :class:`.body_crop.CropToBodyd`.
    """

    source_shape: tuple[int, int, int]
    source_affine: np.ndarray
    orientation: np.ndarray
    source_index: np.ndarray
    crop_xyxy_px: tuple[int, int, int, int] | None = None

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> SliceGeometry:
        """Read the geometry from an image's meta data, as the transforms left it or collated to a batch of one.

        Args:
            meta: holds `source_shape` [3], `source_affine` [4,4], `orientation` [3,2] and `source_index` [S], as arrays
                or tensors, each with or without a leading batch axis of 1; and `crop_xyxy_px` [4] if they were cropped.

        Raises:
            ValueError: when a key is missing, a shape is wrong, the batch holds several items, or an index is outside.
        """
        source_shape = _plain(meta, "source_shape", (3,)).astype(np.int64)
        orientation = _plain(meta, "orientation", (3, 2)).astype(np.int64)
        source_index = _plain(meta, "source_index", (None,)).astype(np.int64)
        num_slices = int(source_shape[_axial_axis(orientation)])
        if source_index.size == 0 or source_index.min() < 0 or source_index.max() >= num_slices:
            raise ValueError(f"source_index {source_index.tolist()} must lie in 0..{num_slices - 1}")
        if np.any(np.diff(source_index) <= 0):
            raise ValueError(f"source_index {source_index.tolist()} must increase strictly")
        return cls(
            source_shape=(int(source_shape[0]), int(source_shape[1]), int(source_shape[2])),
            source_affine=_plain(meta, "source_affine", (4, 4)).astype(np.float64),
            orientation=orientation,
            source_index=source_index,
            crop_xyxy_px=_crop_of(meta),
        )

    @property
    def shown_xyxy_px(self) -> tuple[int, int, int, int]:
        """What is shown of a slice of the LPS volume, in its pixels: the crop, or all of it."""
        return self.crop_xyxy_px or (0, 0, *self.lps_shape[:2])

    @property
    def source_axial_axis(self) -> int:
        """The source axis (0, 1 or 2) along which the slices are stacked."""
        return _axial_axis(self.orientation)

    @property
    def lps_shape(self) -> tuple[int, int, int]:
        """Voxels of the volume oriented to LPS: columns, rows, slices."""
        columns, rows, slices = (self.source_shape[i] for i in np.argsort(self.orientation[:, 0]))
        return columns, rows, slices


def source_slice(geometry: SliceGeometry, key_index: int) -> int:
    """The 0-based index along the source's axial axis (`geometry.source_axial_axis`) of a shown slice.

    Args:
        geometry: of the volume.
        key_index: 0-based position among the shown slices.

    Raises:
        ValueError: when `key_index` is outside the shown slices.
    """
    num_shown = len(geometry.source_index)
    if not 0 <= key_index < num_shown:
        raise ValueError(f"key_index {key_index} must lie in 0..{num_shown - 1}")
    index = int(geometry.source_index[key_index])
    axis = geometry.source_axial_axis
    return index if geometry.orientation[axis, 1] > 0 else geometry.source_shape[axis] - 1 - index


def cropped(slices: torch.Tensor, crop_xyxy_px: tuple[int, int, int, int], fill: float = 0.0) -> torch.Tensor:
    """Part of slices [...,H,W], in pixels, half-open; what reaches beyond them is `fill`."""
    x1, y1, x2, y2 = crop_xyxy_px
    height, width = slices.shape[-2:]
    return pad(slices, (-x1, x2 - width, -y1, y2 - height), value=fill)


def uncropped(slices: torch.Tensor, crop_xyxy_px: tuple[int, int, int, int], height: int, width: int) -> torch.Tensor:
    """The way back of :func:`cropped`: slices [...,H,W] of height x width pixels, 0 where nothing was shown."""
    x1, y1, x2, y2 = crop_xyxy_px
    return pad(slices, (x1, width - x2, y1, height - y2))


def restore_mask(mask: np.ndarray | torch.Tensor, geometry: SliceGeometry) -> np.ndarray:
    """Bring a mask of the shown slices back to the source grid.

    Linear in plane (pixel centres) and between neighbouring shown slices, then the threshold: a voxel is marked where
    the value is above 0.5. Exact where all slices are shown with the source's rows and columns, or at least twice as
    many. Outside the first and last shown slice, and outside the crop, nothing was seen, so nothing is marked.

    Args:
        mask: [S,H,W], 0/1 or a probability in 0..1, rows to posterior, columns to the patient's left.
        geometry: of the volume; its S must be the mask's.

    Returns:
        uint8 [X,Y,Z], 0 or 1, in the source's voxel order.

    Raises:
        ValueError: when the mask is not [S,H,W] with the geometry's S.
    """
    return _restored(mask, geometry, np.uint8, lambda value: value > 0.5)


def restore_map(values: np.ndarray | torch.Tensor, geometry: SliceGeometry) -> np.ndarray:
    """Bring a map of the shown slices back to the source grid: what `restore_mask` does before its threshold.

    Args:
        values: [S,H,W], float; rows to posterior, columns to the patient's left.
        geometry: of the volume; its S must be that of the map.

    Returns:
        float32 [X,Y,Z], in the source's voxel order; 0 outside the first and last shown slice.

    Raises:
        ValueError: when the map is not [S,H,W] with the geometry's S.
    """
    return _restored(values, geometry, np.float32, lambda value: value)


def shown_mask(mask: np.ndarray, geometry: SliceGeometry, height: int, width: int) -> np.ndarray:
    """A mask of the source grid as the shown slices see it: what `OrientByAffined`, `SampleSlicesd`, `CropToBodyd` and
    `ResizeSlicesd` in the mode "nearest" make of it.

    Args:
        mask: bool [X,Y,Z], in the source's voxel order.
        geometry: of the volume.
        height: rows of a shown slice.
        width: its columns.

    Returns:
        bool [S,H,W].

    Raises:
        ValueError: when the mask has another shape than the source.
    """
    if mask.shape != geometry.source_shape:
        raise ValueError(f"a mask of shape {mask.shape} is not on the source grid {geometry.source_shape}")
    flips = tuple(axis for axis in range(3) if geometry.orientation[axis, 1] < 0)
    columns, rows, slices = (int(axis) for axis in np.argsort(geometry.orientation[:, 0]))
    lps = np.flip(mask, axis=flips).transpose(slices, rows, columns)[geometry.source_index]
    pixels = torch.from_numpy(np.ascontiguousarray(lps, dtype=np.uint8))[None]
    pixels = cropped(pixels, geometry.shown_xyxy_px)
    return interpolate(pixels, size=(height, width), mode="nearest-exact")[0].numpy() != 0


def _restored(
    values: np.ndarray | torch.Tensor,
    geometry: SliceGeometry,
    dtype: type[np.generic],
    convert: Callable[[torch.Tensor], torch.Tensor],
) -> np.ndarray:
    """[S,H,W] on the source grid, linear between pixels and slices and then converted: dtype [X,Y,Z]."""
    shown = torch.as_tensor(values).detach().cpu()
    num_shown = len(geometry.source_index)
    if shown.ndim != 3 or shown.shape[0] != num_shown:
        raise ValueError(f"a mask of shape {tuple(shown.shape)} cannot be restored; [S={num_shown}, H, W] is expected")

    columns, rows, slices = geometry.lps_shape
    x1, y1, x2, y2 = geometry.shown_xyxy_px
    lps = np.zeros((slices, rows, columns), dtype=dtype)
    first, last = int(geometry.source_index[0]), int(geometry.source_index[-1])
    for start in range(first, last + 1, _SLICES_AT_A_TIME):
        stop = min(start + _SLICES_AT_A_TIME, last + 1)
        position = np.interp(np.arange(start, stop), geometry.source_index, np.arange(num_shown))
        lower = np.floor(position).astype(np.int64)
        upper = np.ceil(position).astype(np.int64)
        near = shown[lower[0] : upper[-1] + 1].float()
        near = interpolate(near[None], size=(y2 - y1, x2 - x1), mode="bilinear", align_corners=False)[0]
        near = uncropped(near, geometry.shown_xyxy_px, rows, columns)
        fraction = torch.from_numpy(position - lower).float()[:, None, None]
        value = torch.lerp(near[lower - lower[0]], near[upper - lower[0]], fraction)
        lps[start:stop] = convert(value).numpy()

    volume = lps.transpose(2, 1, 0)
    flips = tuple(axis for axis in range(3) if geometry.orientation[axis, 1] < 0)
    # A copy in the order that the voxels have in memory: reordering a large volume takes longer than all the rest.
    return np.flip(volume.transpose(geometry.orientation[:, 0]), axis=flips).copy(order="K")


def _axial_axis(orientation: np.ndarray) -> int:
    """The source axis that becomes the superior axis of LPS."""
    return int(np.flatnonzero(orientation[:, 0] == 2)[0])


def _crop_of(meta: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    if "crop_xyxy_px" not in meta:
        return None
    x1, y1, x2, y2 = (int(edge) for edge in _plain(meta, "crop_xyxy_px", (4,)))
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"crop_xyxy_px {[x1, y1, x2, y2]} must have x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def _plain(meta: Mapping[str, Any], key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The meta entry `key` as an array of `shape` (None: any length), a leading batch axis of 1 removed."""
    if key not in meta:
        raise ValueError(f"the image's meta data has no {key!r}; run OrientByAffined and SampleSlicesd before this")
    value = meta[key]
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = ["S" if n is None else n for n in shape]
        raise ValueError(
            f"meta[{key!r}] has shape {list(array.shape)}; {wanted} is expected (of one volume, batch size 1)"
        )
    return array

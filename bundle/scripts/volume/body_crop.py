"""Slices cropped to the body, so that table, air and a wide field of view leave its organs as large as they can be.

A model that reads the place of an organ off the frame fails when the field of view differs from what it knew, and small
models waste their few pixels on air. The crop is a square in mm: organs keep their proportions, and the body its own,
whatever the image's. It is one for the volume, and in plane only; which slices are shown is not touched.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from scipy import ndimage
from torch.nn.functional import avg_pool2d

from .cropped_mask import foreground_window
from .geometry import cropped

AIR_HU = -1024.0
_BODY_HU = -120.0  # fat is about -100
# The body is looked for on pixels of about this size: fine enough for a frame, and quick.
_COARSE_MM = 4.0
# The opening takes away what is thinner than about three coarse pixels: tables, tubes, clothes.
_THINNEST = ndimage.generate_binary_structure(2, 1)[None]
_MARGIN_MM = 8.0
# A smaller find is no body: a phantom of water, a cushion, noise.
_SMALLEST_MM = 60.0


def body_crop(slices_hu: np.ndarray, row_mm: float, column_mm: float) -> tuple[int, int, int, int] | None:
    """The square around the body, for all slices together.

    The body is the largest connected part above -120 HU after an opening, which parts it from the table.

    Args:
        slices_hu: [S,H,W] in HU.
        row_mm: distance between rows, mm.
        column_mm: distance between columns, mm.

    Returns:
        xyxy in pixels, half-open, x along the columns, of the same length in mm along both; it may reach beyond the
        slices. None where no body is found: nothing above -120 HU, or less than 60 mm of it.
    """
    steps = [max(1, round(_COARSE_MM / spacing)) for spacing in (row_mm, column_mm)]
    steps = [min(step, side) for step, side in zip(steps, slices_hu.shape[1:], strict=True)]
    coarse = avg_pool2d(
        torch.from_numpy(np.ascontiguousarray(slices_hu, np.float32)), steps, ceil_mode=True, count_include_pad=False
    ).numpy()
    parts, count = ndimage.label(ndimage.binary_opening(coarse > _BODY_HU, _THINNEST))
    if count == 0:
        return None
    body = (parts == 1 + np.bincount(parts.ravel())[1:].argmax()).any(axis=0)
    (y1, y2), (x1, x2) = (
        (edge.start * step, min(edge.stop * step, side))
        for edge, step, side in zip(foreground_window(body), steps, slices_hu.shape[1:], strict=True)
    )
    side_mm = max((y2 - y1) * row_mm, (x2 - x1) * column_mm)
    if side_mm < _SMALLEST_MM:
        return None
    side_mm += 2 * _MARGIN_MM
    width, height = max(1, round(side_mm / column_mm)), max(1, round(side_mm / row_mm))
    left, top = (int(x1 + x2) - width) // 2, (int(y1 + y2) - height) // 2
    return left, top, left + width, top + height


class CropToBodyd(MapTransform):
    """Crop the shown slices [C,S,H,W] to a square around the body, see :func:`body_crop`; S is kept.

    `meta` receives `crop_xyxy_px` int64 [4], which :class:`.geometry.SliceGeometry` reads for the way back. Where no
    body is found, nothing changes.

    Args:
        keys: of MetaTensors that :class:`.transforms.SampleSlicesd` returned, all on one grid.
        ref_key: of the image in HU, whose body counts for all keys.
        fill: what lies beyond the slices, one or one per key: air for images, 0 for labels.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        ValueError: when an item's slices are not those of the image, or the number of fills is not that of the keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        ref_key: str = "image",
        fill: float | Sequence[float] = AIR_HU,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.ref_key = ref_key
        self.fills = ensure_tuple_rep(fill, len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image = result[self.ref_key]
        spacing = np.linalg.norm(image.affine.cpu().numpy()[:3, :3], axis=0)
        crop = body_crop(image[0].cpu().numpy(), float(spacing[1]), float(spacing[2]))
        if crop is None:
            return result
        for key, fill in self.key_iterator(result, self.fills):
            found, wanted = tuple(result[key].shape[1:]), tuple(image.shape[1:])
            if found != wanted:
                raise ValueError(f"{key!r} has the slices {found}, not the image's {wanted}")
            result[key] = _crop(result[key], crop, fill)
        return result


def _crop(slices: MetaTensor, crop: tuple[int, int, int, int], fill: float) -> MetaTensor:
    moved = np.eye(4)
    moved[1:3, 3] = crop[1], crop[0]
    meta = {key: value for key, value in slices.meta.items() if key != "affine"}
    return MetaTensor(
        cropped(slices.as_tensor(), crop, fill),
        affine=slices.affine @ torch.as_tensor(moved, dtype=slices.affine.dtype),
        meta=meta | {"crop_xyxy_px": np.array(crop, dtype=np.int64)},
    )

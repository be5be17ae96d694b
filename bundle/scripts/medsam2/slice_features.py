"""Image features of a volume's slices, as MedSAM2's memory walks through them: each slice is encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor
from transformers import Sam2VideoModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .steps import ImageFeatures, Positions, encode, position_encodings
from .zoom import Crop, whole_slice

_MEAN = np.array(IMAGENET_DEFAULT_MEAN, np.float32)[:, None, None]
_STD = np.array(IMAGENET_DEFAULT_STD, np.float32)[:, None, None]


class SliceFeatures:
    """Image features of a volume's slices, computed at first use and remembered.

    Those of a crop are not remembered: the next box has another one, and 16 boxes through 64 slices would hold 4 GB in
    t512. Walking through the slices asks for each of them once.

    Args:
        model: MedSAM2.
        slices: [S,H,W] or [S,3,H,W], float in 0..1.
        chunk: slices encoded in one call of the model.
        most_known: slices remembered, the last ones encoded; the default takes 1 GB in t512.
    """

    def __init__(self, model: Sam2VideoModel, slices: ArrayLike, chunk: int = 8, most_known: int = 256) -> None:
        self._model, self._slices, self._chunk = model, checked_slices(slices), chunk
        self._most_known = most_known
        self._known: dict[tuple[int, Crop], ImageFeatures] = {}
        self._positions: Positions | None = None

    @property
    def num_slices(self) -> int:
        return len(self._slices)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows H and columns W of a slice."""
        return self._slices.shape[-2], self._slices.shape[-1]

    @property
    def whole(self) -> Crop:
        return whole_slice(*self.shape)

    @property
    def positions(self) -> Positions:
        if self._positions is None:
            self._positions = position_encodings(self._model)
        return self._positions

    def of(self, index: Tensor, crops: Sequence[Crop]) -> ImageFeatures:
        """Features of the slices `index` [N] (int64, repeats allowed), of each the part in its crop."""
        wanted = list(zip(index.tolist(), crops, strict=True))
        found = {view: self._known[view] for view in wanted if view in self._known}
        unknown = sorted(set(wanted) - found.keys())
        for start in range(0, len(unknown), self._chunk):
            part = unknown[start : start + self._chunk]
            for view, features in zip(part, zip(*encode(self._model, self._pixels(part)), strict=True), strict=True):
                found[view] = ImageFeatures(*features)
        self._known |= {view: found[view] for view in unknown if view[1] == self.whole}
        for oldest in list(self._known)[: -self._most_known]:
            del self._known[oldest]
        return ImageFeatures(*(torch.stack(part) for part in zip(*(found[view] for view in wanted), strict=True)))

    def _pixels(self, views: Sequence[tuple[int, Crop]]) -> Tensor:
        """What the model sees of slices in crops: float32 [N,3,image_size,image_size]."""
        parts = [self._slices[i : i + 1, ..., *crop.pixels] for i, crop in views]
        return torch.cat([preprocess(part, self._model.image_size) for part in parts]).to(self._model.device)


def preprocess(slices: np.ndarray, image_size: int) -> Tensor:
    """What the official code feeds to the image encoder.

    Rounded to 8 bits, resized by PIL (bicubic, antialiased), normalised with ImageNet's mean and standard deviation.

    Args:
        slices: [N,H,W] or [N,3,H,W] in 0..1.

    Returns:
        float32 [N,3,image_size,image_size].
    """
    planes = slices[:, None] if slices.ndim == 3 else slices
    bytes_ = np.rint(planes * 255).astype(np.uint8)
    # Channel by channel is the same as RGB at once, and a grey slice needs one resize instead of three.
    resized = np.array([[_resized_plane(plane, image_size) for plane in item] for item in bytes_])
    return torch.from_numpy((resized.astype(np.float32) / 255 - _MEAN) / _STD)


def _resized_plane(plane: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))


def checked_slices(slices: ArrayLike) -> np.ndarray:
    """Slices [S,H,W] or [S,3,H,W] as float32 in 0..1.

    Raises:
        ValueError: another shape, not floats, not finite, or outside 0..1.
    """
    array = np.asarray(slices.detach().cpu() if isinstance(slices, Tensor) else slices)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[1] != 3) or 0 in array.shape:
        raise ValueError(f"slices have the shape {array.shape}; give [S,H,W] or [S,3,H,W], none of them 0")
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"slices are {array.dtype}; give floats in 0..1 (`WindowHUd` makes them)")
    array = array.astype(np.float32, copy=False)
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"slices range over {low:g}..{high:g}; give finite values in 0..1 (`WindowHUd` makes them)")
    return array.clip(0, 1)

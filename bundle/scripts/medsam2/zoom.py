"""Where the propagator looks when it zooms: a square part of the slice around each box.

A propagator resizes what it sees to its own input, so a small object gets few of its pixels. Around every box, with the
points of its object, a crop of whole pixels is cut, the same on all slices, and the object is followed inside it. The
paper (Sec. 2.3) shows MedSAM2 the whole slice, which is also a crop: `whole_slice`. Points alone do not say how large
an object is, so there the whole slice is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Crop(NamedTuple):
    """A part of a slice in whole pixels: half-open edges `x1`, `y1`, `x2`, `y2`, x along the columns."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns, to index [..., H, W] with: `slices[..., *crop.pixels]`."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)


def whole_slice(height: int, width: int) -> Crop:
    """The crop that leaves nothing out."""
    return Crop(0, 0, width, height)


def crop_around(box_xyxy_px: Sequence[float], margin: float, height: int, width: int) -> Crop:
    """The smallest square of whole pixels that holds a box and its margin.

    At the border it is shifted into the slice; where it is longer than the slice, it ends with the slice, and is then a
    rectangle, or the whole slice.

    >>> crop_around([40, 50, 60, 60], margin=0.5, height=100, width=100)  # 0.5 * 20 = 10 to each side of the longer one
    Crop(x1=30, y1=35, x2=70, y2=75)

    Args:
        box_xyxy_px: x1, y1, x2, y2 inside the slice, x along the columns; fractions are legal. Where an object has
            points beside its box, the smallest box around all of them.
        margin: left free on each side, as a share of the box's longer side; 0 or more.
        height: rows of the slice.
        width: its columns.
    """
    x1, y1, x2, y2 = box_xyxy_px
    reach = (0.5 + margin) * max(x2 - x1, y2 - y1)
    # The box itself bounds both ends: around its centre, rounding may leave out the last digit of an edge.
    starts = [math.floor(min((low + high) / 2 - reach, low)) for low, high in ((x1, x2), (y1, y2))]
    ends = [math.ceil(max((low + high) / 2 + reach, high)) for low, high in ((x1, x2), (y1, y2))]
    side = max(end - start for start, end in zip(starts, ends, strict=True))
    (left, right), (top, bottom) = (_inside(starts[axis], side, (width, height)[axis]) for axis in (0, 1))
    return Crop(left, top, right, bottom)


def in_crops(xy_px: Tensor, crops: Sequence[Crop], side: int) -> Tensor:
    """Points as they lie in their crops when each of these is resized to `side` x `side` pixels.

    Args:
        xy_px: [N,M,2] in pixels of the slice; corners of boxes are points as well.
        crops: N.
        side: pixels of the resized crops.

    Returns:
        [N,M,2] in 0..side for what lies in the crop, dtype of the points.
    """
    edges = torch.tensor([*crops], dtype=xy_px.dtype).reshape(-1, 1, 4)
    return (xy_px - edges[..., :2]) / (edges[..., 2:] - edges[..., :2]) * side


def _inside(start: int, length: int, extent: int) -> tuple[int, int]:
    """Half-open range of `length`, or of all there is, shifted into 0..extent."""
    length = min(length, extent)
    start = min(max(start, 0), extent - length)
    return start, start + length

"""Where propagation starts: a slice and what marks the target on it, boxes and positive points.

An object is marked by a box, by points inside it, or by both. This one type goes from an answer, a bound or a person's
correction to whatever makes masks of it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from .anchor import EvidenceAnchor, boxes_1000_to_px, points_1000_to_px

BoxPx = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of a shown slice, half-open edges; `anchor.Box` is in 0-1000."""

PointPx = tuple[float, float]
"""x, y in pixels of a shown slice; the centre of the first pixel is (0.5, 0.5)."""


class SlicePrompt(NamedTuple):
    """Objects on one slice, at least one.

    Args:
        key_index: 0-based shown slice.
        boxes_xyxy_px: boxes on it, in pixels of the shown slices.
        points_xy_px: for each object its points, as long as the boxes, `()` for a box without points. Without any box:
            one entry for each object, none of them `()`. Without any point: empty.
    """

    key_index: int
    boxes_xyxy_px: tuple[BoxPx, ...]
    points_xy_px: tuple[tuple[PointPx, ...], ...] = ()

    @classmethod
    def of(cls, key_index: int, boxes_xyxy_px: ArrayLike, points_xy_px: Sequence[ArrayLike] = ()) -> SlicePrompt | None:
        """From boxes [N, 4] and, where there are points, a list [M, 2] of them for each object.

        None without boxes and points, where there is nothing to start from.
        """
        boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in np.asarray(boxes_xyxy_px, dtype=np.float64).tolist())
        points = tuple(
            tuple((x, y) for x, y in np.asarray(of_object, dtype=np.float64).reshape(-1, 2).tolist())
            for of_object in points_xy_px
        )
        points = points if any(points) else ()
        return cls(key_index, boxes, points) if boxes or points else None

    @property
    def objects(self) -> list[SlicePrompt]:
        """Each object alone; equal ones compare equal, whatever is marked beside them."""
        if not self.points_xy_px:
            return [SlicePrompt(self.key_index, (box,)) for box in self.boxes_xyxy_px]
        boxes = [(box,) for box in self.boxes_xyxy_px] or [()] * len(self.points_xy_px)
        pairs = zip(boxes, self.points_xy_px, strict=True)
        return [SlicePrompt(self.key_index, box, (points,) if points else ()) for box, points in pairs]

    @property
    def arguments(self) -> tuple[int, np.ndarray] | tuple[int, np.ndarray, tuple[tuple[PointPx, ...], ...]]:
        """Key slice, boxes [N, 4] and, where there are any, points: one that knows boxes alone can be given those."""
        boxes = np.array(self.boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
        return (self.key_index, boxes, self.points_xy_px) if self.points_xy_px else (self.key_index, boxes)


def prompt_of(anchor: EvidenceAnchor, height: int, width: int) -> SlicePrompt | None:
    """What an answer marks on slices of `height` rows and `width` columns; None where it marks nothing."""
    points = [points_1000_to_px(of_object, height, width) for of_object in anchor.points_xy_1000]
    return SlicePrompt.of(anchor.key_index, boxes_1000_to_px(anchor.boxes_xyxy_1000, height, width), points)


def checked_prompt(
    key_index: int, boxes_xyxy_px: Any, points_xy_px: Sequence[Any], num_slices: int, height: int, width: int
) -> SlicePrompt:
    """A prompt of what somebody gave; without boxes and points it has no objects.

    Args:
        key_index: 0-based slice.
        boxes_xyxy_px: [N, 4]; clipped to the slice.
        points_xy_px: as in `SlicePrompt`, each entry [M, 2].
        num_slices: slices of the volume.
        height: rows of a slice.
        width: its columns.

    Raises:
        ValueError: a key slice out of range; a box that is not finite, inverted, empty, or wholly outside; a point that
            is not finite or outside; lists of points that belong to no object.
    """
    key = _checked_key(key_index, num_slices)
    boxes = _checked_boxes(boxes_xyxy_px, height, width)
    points = tuple(_checked_points(number, of_object, height, width) for number, of_object in enumerate(points_xy_px))
    if boxes and len(points) not in (0, len(boxes)):
        raise ValueError(f"there are {len(points)} lists of points for {len(boxes)} boxes; give one a box, [] for none")
    if not boxes and not all(points):
        raise ValueError(f"object {points.index(())} has neither a box nor points; give one of them")
    return SlicePrompt(key, boxes, points if any(points) else ())


def _checked_key(key_index: int, total: int) -> int:
    try:
        index = operator.index(key_index)
    except TypeError:
        raise ValueError(f"key_index is {key_index!r}; give a whole number") from None
    if not 0 <= index < total:
        raise ValueError(f"key_index is {index}, outside 0..{total - 1} of the {total} slices")
    return index


def _checked_boxes(boxes_xyxy_px: Any, height: int, width: int) -> tuple[BoxPx, ...]:
    boxes = torch.as_tensor(boxes_xyxy_px, dtype=torch.float64).cpu()
    if boxes.numel() == 0:
        return ()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have the shape {tuple(boxes.shape)}; give [N,4] as x1, y1, x2, y2 in pixels")
    for number, box in enumerate(boxes.tolist()):
        x1, y1, x2, y2 = box
        if not all(np.isfinite(box)):
            raise ValueError(f"box {number} is {box}; its corners must be finite")
        if x1 >= x2 or y1 >= y2:
            raise ValueError(f"box {number} is {box}; it needs x1 < x2 and y1 < y2")
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            raise ValueError(f"box {number} is {box}, outside the slice of {width} columns and {height} rows")
    clipped = boxes.clamp(boxes.new_zeros(4), boxes.new_tensor([width, height, width, height]))
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in clipped.tolist())


def _checked_points(number: int, points_xy_px: Any, height: int, width: int) -> tuple[PointPx, ...]:
    points = torch.as_tensor(points_xy_px, dtype=torch.float64).cpu()
    if points.numel() == 0:
        return ()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"points of object {number} have the shape {tuple(points.shape)}; give [M,2] as x, y in pixels"
        )
    for point in points.tolist():
        x, y = point
        if not (0 <= x <= width and 0 <= y <= height):  # NaN is in no range
            raise ValueError(
                f"a point of object {number} is {point}, outside the slice of {width} columns and {height} rows"
            )
    return tuple((x, y) for x, y in points.tolist())

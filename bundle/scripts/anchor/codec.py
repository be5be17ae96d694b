"""Boxes and points in pixels to the whole numbers of the text, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .evidence_anchor import BOX_SCALE, Box, Point


def boxes_px_to_1000(boxes_xyxy_px: Iterable[Sequence[float]], height: int, width: int) -> tuple[Box, ...]:
    """Pixel edges to the whole numbers of the text. A box never loses its last unit of extent.

    Args:
        boxes_xyxy_px: [N, 4] half-open pixel edges, 0 <= x <= width and 0 <= y <= height.
        height: rows H of the slice.
        width: columns W of the slice.

    Returns:
        N boxes in 0..1000, each side at least 1.
    """
    boxes = np.asarray(list(boxes_xyxy_px), dtype=float).reshape(-1, 4)
    scaled = np.rint(boxes * BOX_SCALE / np.array([width, height, width, height])).astype(int)
    low = np.clip(scaled[:, :2], 0, BOX_SCALE - 1)
    high = np.clip(np.maximum(scaled[:, 2:], low + 1), 1, BOX_SCALE)
    return tuple((int(x1), int(y1), int(x2), int(y2)) for (x1, y1), (x2, y2) in zip(low, high, strict=True))


def boxes_1000_to_px(boxes_xyxy_1000: Iterable[Sequence[int]], height: int, width: int) -> np.ndarray:
    """The inverse of `boxes_px_to_1000`, within half a unit (height or width / 2000 pixels).

    Returns:
        float64 [N, 4], half-open pixel edges xyxy of a slice with `height` rows and `width` columns.
    """
    boxes = np.asarray(list(boxes_xyxy_1000), dtype=float).reshape(-1, 4)
    return boxes * np.array([width, height, width, height]) / BOX_SCALE


def points_px_to_1000(points_xy_px: Iterable[Sequence[float]], height: int, width: int) -> tuple[Point, ...]:
    """Points in pixels to the whole numbers of the text.

    Args:
        points_xy_px: [N, 2], 0 <= x <= width and 0 <= y <= height; the centre of the first pixel is (0.5, 0.5).
        height: rows H of the slice.
        width: columns W of the slice.
    """
    points = np.asarray(list(points_xy_px), dtype=float).reshape(-1, 2)
    scaled = np.rint(points * BOX_SCALE / np.array([width, height])).clip(0, BOX_SCALE).astype(int)
    return tuple((int(x), int(y)) for x, y in scaled)


def points_1000_to_px(points_xy_1000: Iterable[Sequence[int]], height: int, width: int) -> np.ndarray:
    """The inverse of `points_px_to_1000`, within half a unit: float64 [N, 2], x along the columns."""
    points = np.asarray(list(points_xy_1000), dtype=float).reshape(-1, 2)
    return points * np.array([width, height]) / BOX_SCALE

"""Where propagation starts: a slice and what marks the target on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BoxPx = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of a shown slice, half-open edges; `anchor.Box` is in 0-1000."""


class SlicePrompt(NamedTuple):
    """Boxes on one slice.

    Args:
        key_index: 0-based shown slice.
        boxes_xyxy_px: on it, in pixels of the shown slices; at least one.
    """

    key_index: int
    boxes_xyxy_px: tuple[BoxPx, ...]

    @classmethod
    def of(cls, key_index: int, boxes_xyxy_px: np.ndarray) -> SlicePrompt | None:
        """From boxes [N, 4]; None without any, where there is nothing to start from."""
        boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in np.asarray(boxes_xyxy_px, dtype=np.float64).tolist())
        return cls(key_index, boxes) if boxes else None

"""What marks an object on a single image: a box and two points, predicted or true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..anchor import IMAGE_KEYS, EvidenceAnchor, boxes_px_to_1000, points_px_to_1000
from ..targets import inner_points


class Marks(NamedTuple):
    """A box and two points, in 0 to 1000 across the image: the frame of the text, whatever the image's size.

    Args:
        box: float64 [4], x1, y1, x2, y2 with x1 < x2 and y1 < y2.
        points: float64 [2, 2], x and y each.
    """

    box: np.ndarray
    points: np.ndarray


def predicted_marks(anchor: EvidenceAnchor) -> Marks:
    """Those of an answer of the form "image", see `anchor.ANSWER_FORMS`."""
    return Marks(np.array(anchor.boxes_xyxy_1000[0], dtype=float), np.array(anchor.points_xy_1000[0], dtype=float))


def listed_marks(marks: Mapping[str, Any]) -> Marks:
    """Those of an entry of a datalist, which have been checked as it was read."""
    box, *points = (np.array(marks[key], dtype=float) for key in IMAGE_KEYS)
    return Marks(box, np.stack(points))


def true_anchor(entry: Mapping[str, Any], truth: np.ndarray) -> EvidenceAnchor | None:
    """The answer that states the true marks, on the slice that shows the most; None where there is no target.

    Args:
        entry: of a datalist; its `marks` are those of a single image.
        truth: bool [S, H, W], the target on the shown slices.
    """
    key_index = int(np.count_nonzero(truth, axis=(1, 2)).argmax())
    marks = listed_marks(entry["marks"]) if "marks" in entry and len(truth) == 1 else true_marks(truth[key_index])
    if marks is None:
        return None
    box, points = (part.astype(int).tolist() for part in marks)
    return EvidenceAnchor(key_index, (tuple(box),), (tuple(map(tuple, points)),))


def true_marks(mask: np.ndarray) -> Marks | None:
    """Those of a target: the bounding box of all of it and two points of `targets.inner_points`, rounded as in text, so
    that an answer can state them exactly; None where there is no target.

    Args:
        mask: bool [H, W].
    """
    if not mask.any():
        return None
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = boxes_px_to_1000([(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)], *mask.shape)[0]
    return Marks(np.array(box, dtype=float), np.array(points_px_to_1000(inner_points(mask), *mask.shape), dtype=float))

"""What is measured, once: evaluation and rewards read the same functions.

Frames: masks are boolean, `[S, H, W]` where slices matter and of any rank otherwise. Boxes are `[N, 4]` xyxy, half-open
edges, x along the columns; pixels or 0-1000 alike, as long as both sides use the same frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.data.box_utils import box_iou
from monai.metrics import compute_dice, compute_iou
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment


def axial_visibility(mask: ArrayLike, key_index: int) -> float:
    """Foreground of the key slice relative to the slice that shows the most: `F_k / max_t F_t` (the paper's R_a).

    The maximum runs over all shown slices, not over a neighborhood of the key slice, where a local bump would score 1.

    Args:
        mask: target `[S, H, W]`, nonzero is foreground.
        key_index: 0-based index of the key slice among the S shown slices.

    Returns:
        A number in 0..1; 0 for an empty mask.

    Raises:
        ValueError: mask not of rank 3.
        IndexError: key_index outside 0..S-1.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 3:
        raise ValueError(f"axial_visibility wants a mask [S, H, W], got the shape {mask.shape}.")
    if not 0 <= key_index < mask.shape[0]:
        raise IndexError(f"key_index {key_index} is outside the {mask.shape[0]} slices of the mask (0-based).")
    area = np.count_nonzero(mask, axis=(1, 2))
    return float(area[key_index] / area.max()) if area.any() else 0.0


def match_boxes(pred_boxes: ArrayLike, true_boxes: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One-to-one assignment of predicted to true boxes with the least total `1 - IoU` (Hungarian; paper, R_s).

    Args:
        pred_boxes: `[N, 4]` xyxy.
        true_boxes: `[N*, 4]` xyxy, same frame.

    Returns:
        `(pred_index, true_index, ious)`, each of length `min(N, N*)`: pair i joins `pred_boxes[pred_index[i]]` and
        `true_boxes[true_index[i]]`. Pairs without overlap are included, with IoU 0.

    Raises:
        ValueError: not `[N, 4]`, or not finite, or a box without positive width and height.
    """
    pred, true = _boxes(pred_boxes, "pred_boxes"), _boxes(true_boxes, "true_boxes")
    if not len(pred) or not len(true):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
    overlap = np.asarray(box_iou(pred, true), dtype=np.float64)
    pred_index, true_index = linear_sum_assignment(1.0 - overlap)
    return pred_index, true_index, overlap[pred_index, true_index]


def matched_box_iou(pred_boxes: ArrayLike, true_boxes: ArrayLike) -> float:
    """Sum of the matched IoUs over `max(N, N*)` (the paper's R_s): missing and spurious boxes both cost.

    Two empty lists score 0, not 1: a key slice without target has no boxes to find, and paying for it would reward a
    model for pointing away from the target. Absent targets are judged apart (datasets.md, type H), not here.

    Args:
        pred_boxes: `[N, 4]` xyxy.
        true_boxes: `[N*, 4]` xyxy, same frame: the boxes of the *predicted* key slice.

    Returns:
        A number in 0..1.
    """
    pred, true = _boxes(pred_boxes, "pred_boxes"), _boxes(true_boxes, "true_boxes")
    _, _, ious = match_boxes(pred, true)
    return float(ious.sum() / max(len(pred), len(true))) if len(ious) else 0.0


def dice(pred_mask: ArrayLike, true_mask: ArrayLike) -> float:
    """Dice similarity coefficient of two masks of one shape, any rank, by MONAI's `compute_dice`.

    An absent target (empty `true_mask`) has a defined value: 1 when the prediction is empty too, else 0. Report absent
    targets in a table of their own.
    """
    return _overlap(compute_dice, pred_mask, true_mask)


def iou(pred_mask: ArrayLike, true_mask: ArrayLike) -> float:
    """Intersection over union of two masks, by MONAI's `compute_iou`; empty masks as in `dice`."""
    return _overlap(compute_iou, pred_mask, true_mask)


def _overlap(measure: Callable[..., torch.Tensor], pred_mask: ArrayLike, true_mask: ArrayLike) -> float:
    pred, true = np.asarray(pred_mask, dtype=bool), np.asarray(true_mask, dtype=bool)
    if pred.shape != true.shape:
        raise ValueError(f"The predicted mask has the shape {pred.shape}, the true one {true.shape}; they must agree.")
    if not true.any():
        return float(not pred.any())
    pred_bc, true_bc = (torch.from_numpy(mask.reshape(1, 1, -1)).float() for mask in (pred, true))
    return measure(pred_bc, true_bc).item()


def _boxes(boxes: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must be [N, 4] xyxy, got the shape {array.shape}.")
    if not np.isfinite(array).all() or (array[:, 2:] <= array[:, :2]).any():
        raise ValueError(f"{name} must be finite with x1 < x2 and y1 < y2, got {array.tolist()}.")
    return array

"""From a label to its target's mask, and to what stage 1 (SFT) teaches of it: a key slice and its boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .anchor import EvidenceAnchor, boxes_px_to_1000, points_px_to_1000

_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)


def target_mask(label: np.ndarray, label_values: Sequence[int] | None) -> np.ndarray:
    """Where a label is the target, bool: one of `label_values`, or not 0 where these are None."""
    return label != 0 if label_values is None else np.isin(label, label_values)


def components_to_boxes(
    mask: np.ndarray, max_boxes: int = 8, min_fraction: float = 0.05
) -> list[tuple[int, int, int, int]]:
    """Boxes of the connected components of one slice (paper 2.4).

    Args:
        mask: `[H, W]`, nonzero is foreground.
        max_boxes: the largest components kept.
        min_fraction: a component smaller than this fraction of the largest one is a speck, and dropped.

    Returns:
        xyxy in pixels, half-open edges, x along the columns; from left to right, then from top to bottom. Components
        are 8-connected. An empty mask has no boxes.

    Raises:
        ValueError: mask not of rank 2, max_boxes < 1, or min_fraction outside 0..1.
    """
    return [box for box, _ in _boxed_components(mask, max_boxes, min_fraction)]


def inner_points(component: np.ndarray, count: int = 2) -> np.ndarray:
    """Points well inside a component, apart from each other along its longer axis.

    Its pixels are divided into parts of equal size along the axis of their largest spread; in each part the pixel is
    taken that lies deepest in the component. Where there are fewer pixels than points, points repeat.

    Args:
        component: `[H, W]`, nonzero is foreground.
        count: points, at least 1.

    Returns:
        float64 `[count, 2]`, x and y in pixels, the centres of foreground pixels.

    Raises:
        ValueError: component empty or not of rank 2, or count < 1.
    """
    if component.ndim != 2 or not component.any() or count < 1:
        raise ValueError(
            f"inner_points wants a component [H, W] and 1 point or more, got {component.shape} and {count}."
        )
    depth = ndimage.distance_transform_edt(np.pad(component != 0, 1))[1:-1, 1:-1]
    pixels = np.argwhere(component)
    centered = pixels - pixels.mean(axis=0)
    longer_axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
    ordered = pixels[np.argsort(centered @ longer_axis, kind="stable")]
    parts = [part if len(part) else ordered for part in np.array_split(ordered, count)]
    deepest = [part[depth[tuple(part.T)].argmax()] for part in parts]
    return np.array(deepest, dtype=float)[:, ::-1] + 0.5


def _boxed_components(
    mask: np.ndarray, max_boxes: int = 8, min_fraction: float = 0.05
) -> list[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Each box of `components_to_boxes` with its component, bool `[H, W]`."""
    if mask.ndim != 2:
        raise ValueError(f"components_to_boxes wants one slice [H, W], got the shape {mask.shape}.")
    if max_boxes < 1 or not 0.0 <= min_fraction <= 1.0:
        raise ValueError(f"max_boxes must be >= 1 and min_fraction in 0..1, got {max_boxes} and {min_fraction}.")
    components, count = ndimage.label(mask, structure=_EIGHT_NEIGHBORS)
    if count == 0:
        return []
    area = np.bincount(components.ravel())[1:]
    largest_first = np.argsort(-area, kind="stable")[:max_boxes]
    windows = ndimage.find_objects(components)
    found = [
        ((windows[i][1].start, windows[i][0].start, windows[i][1].stop, windows[i][0].stop), components == i + 1)
        for i in largest_first
        if area[i] >= min_fraction * area.max()
    ]
    return sorted(found, key=lambda boxed: boxed[0])


def sft_anchor(mask: np.ndarray, rng: np.random.Generator, top_k: int = 4, points_per_box: int = 0) -> EvidenceAnchor:
    """Draw a training anchor by Top-K visibility sampling (paper 2.4).

    The slices are ranked by foreground area and the key slice is one of the first `top_k` that show the target, each
    with the same probability: several slices are good evidence, and the model should not learn that only one is.

    Args:
        mask: target `[S, H, W]`, nonzero is foreground.
        rng: the only source of chance.
        top_k: how many of the best slices may be drawn.
        points_per_box: how many `inner_points` stand beside each box.

    Returns:
        The anchor, boxes in 0-1000; `EvidenceAnchor(0, ())`, "not present", for an empty mask.

    Raises:
        ValueError: mask not of rank 3, or top_k < 1.
    """
    if mask.ndim != 3:
        raise ValueError(f"sft_anchor wants a mask [S, H, W], got the shape {mask.shape}.")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    area = np.count_nonzero(mask, axis=(1, 2))
    candidates = [int(k) for k in np.argsort(-area, kind="stable")[:top_k] if area[k]]
    if not candidates:
        return EvidenceAnchor(0, ())
    key_index = candidates[rng.integers(len(candidates))]
    boxed = _boxed_components(mask[key_index])
    boxes = boxes_px_to_1000([box for box, _ in boxed], *mask.shape[1:])
    if not points_per_box:
        return EvidenceAnchor(key_index, boxes)
    points = [points_px_to_1000(inner_points(component, points_per_box), *mask.shape[1:]) for _, component in boxed]
    return EvidenceAnchor(key_index, boxes, tuple(points))

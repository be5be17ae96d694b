"""An answer in the frame of what is displayed: LPS voxels, pixels of the axial picture; and a person's boxes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..anchor import (
    MAX_BOXES,
    MAX_POINTS,
    Box,
    EvidenceAnchor,
    Point,
    boxes_1000_to_px,
    boxes_px_to_1000,
    format_completion,
    points_1000_to_px,
    points_px_to_1000,
)
from ..report.status_words import in_words
from ..volume.geometry import SliceGeometry
from .failures import ServiceError
from .study import NamedMask


def displayed_mask(mask: NamedMask, geometry: SliceGeometry) -> dict[str, Any]:
    """A mask as plain JSON types; slices are LPS indices, boxes in pixels of the axial picture.

    Args:
        mask: of a study.
        geometry: of its volume.
    """
    record, ranges = mask.current.record, mask.current.mask.slice_ranges()
    key_slice = record["key_slice"]
    return {
        "name": mask.name,
        "query": record["query"],
        "revision": mask.current.number,
        "voxels": record["voxels"],
        "volume_ml": record["volume_ml"],
        "status": record["status"],
        "status_text": in_words(record["status"]),
        "corrected": record["corrected"],
        "key_slice": None if key_slice is None else int(geometry.source_index[key_slice - 1]),
        "bbox_2d_list": _displayed_boxes(record["boxes_1000"], geometry),
        "point_2d_list": [_displayed_points(of_object, geometry) for of_object in record["points_1000"]],
        "reasoning": record["think"],
        "completion": record["completion"],
        "slice_ranges": None if ranges is None else dict(zip(("sagittal", "coronal", "axial"), ranges, strict=True)),
        "color": mask.color,
        "undo": len(mask.revisions) > 1,
    }


def given_answer(
    key_slice: int,
    boxes_xyxy_px: Sequence[Sequence[float]],
    geometry: SliceGeometry,
    points_xy_px: Sequence[Sequence[Sequence[float]]] = (),
) -> str:
    """A person's evidence in the form of an answer, see `anchor.format_completion`.

    Args:
        key_slice: LPS index of a shown slice.
        boxes_xyxy_px: in pixels of the axial picture, half-open edges; what lies outside of the shown part is cut off.
            None at all: the target is not there.
        geometry: of the volume.
        points_xy_px: a list of them for each box, `[]` for none; or none at all. They are on the target, in the part of
            the slice that is shown.

    Raises:
        ServiceError: `key_slice_not_shown`, `bad_boxes` or `bad_points`.
    """
    shown = geometry.source_index.tolist()
    if key_slice not in shown:
        nearest = min(shown, key=lambda index: abs(index - key_slice))
        raise ServiceError(
            "key_slice_not_shown",
            f"slice {key_slice} is none of those that the models see; the nearest of these is {nearest}.",
        )
    boxes = _given_boxes(boxes_xyxy_px, geometry)
    points = _given_points(points_xy_px, len(boxes), geometry)
    return format_completion(EvidenceAnchor(shown.index(key_slice), boxes, points), form="boxes_and_points")


def _given_boxes(boxes_xyxy_px: Sequence[Sequence[float]], geometry: SliceGeometry) -> tuple[Box, ...]:
    if len(boxes_xyxy_px) > MAX_BOXES:
        raise ServiceError("bad_boxes", f"there are {len(boxes_xyxy_px)} boxes; at most {MAX_BOXES} are legal.")
    left, top, right, bottom = geometry.shown_xyxy_px
    width, height = right - left, bottom - top
    inside = []
    for box in boxes_xyxy_px:
        corners = np.asarray(box, dtype=np.float64)
        if corners.shape == (4,) and np.isfinite(corners).all():
            x1, y1, x2, y2 = (corners - (left, top, left, top)).clip(0, (width, height, width, height)).tolist()
            if x1 < x2 and y1 < y2:
                inside.append((x1, y1, x2, y2))
                continue
        raise ServiceError(
            "bad_boxes",
            f"{list(box)[:8]} is no box [x1, y1, x2, y2] with x1 < x2 and y1 < y2 in the part of the slice that the "
            f"models see, {[left, top, right, bottom]}.",
        )
    return boxes_px_to_1000(inside, height, width)


def _given_points(
    points_xy_px: Sequence[Sequence[Sequence[float]]], num_boxes: int, geometry: SliceGeometry
) -> tuple[tuple[Point, ...], ...]:
    if not any(points_xy_px):
        return ()
    if len(points_xy_px) != num_boxes:
        raise ServiceError(
            "bad_points",
            f"there are {len(points_xy_px)} lists of points for {num_boxes} boxes; give one a box, [] for none.",
        )
    left, top, right, bottom = geometry.shown_xyxy_px
    for of_box in points_xy_px:
        if len(of_box) > MAX_POINTS:
            raise ServiceError("bad_points", f"a box has {len(of_box)} points; at most {MAX_POINTS} are legal.")
        for point in of_box:
            if len(point) != 2 or not (left <= point[0] <= right and top <= point[1] <= bottom):  # NaN is in no range
                raise ServiceError(
                    "bad_points",
                    f"{list(point)[:8]} is no point [x, y] in the part of the slice that the models see, "
                    f"{[left, top, right, bottom]}.",
                )
    shifted = [[(x - left, y - top) for x, y in of_box] for of_box in points_xy_px]
    return tuple(points_px_to_1000(of_box, bottom - top, right - left) for of_box in shifted)


def _displayed_boxes(boxes_1000: Sequence[Sequence[int]], geometry: SliceGeometry) -> list[list[float]]:
    left, top, right, bottom = geometry.shown_xyxy_px
    boxes = boxes_1000_to_px(boxes_1000, bottom - top, right - left) + (left, top, left, top)
    return np.round(boxes, 3).tolist()


def _displayed_points(points_1000: Sequence[Sequence[int]], geometry: SliceGeometry) -> list[list[float]]:
    left, top, right, bottom = geometry.shown_xyxy_px
    return np.round(points_1000_to_px(points_1000, bottom - top, right - left) + (left, top), 3).tolist()

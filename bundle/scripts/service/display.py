"""An answer in the frame of what is displayed: LPS voxels, pixels of the axial picture; and a person's boxes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..anchor import MAX_BOXES, EvidenceAnchor, boxes_1000_to_px, boxes_px_to_1000, format_completion
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
        "reasoning": record["think"],
        "completion": record["completion"],
        "slice_ranges": None if ranges is None else dict(zip(("sagittal", "coronal", "axial"), ranges, strict=True)),
        "color": mask.color,
        "undo": len(mask.revisions) > 1,
    }


def given_answer(key_slice: int, boxes_xyxy_px: Sequence[Sequence[float]], geometry: SliceGeometry) -> str:
    """A person's evidence in the form of an answer, see `anchor.format_completion`.

    Args:
        key_slice: LPS index of a shown slice.
        boxes_xyxy_px: in pixels of the axial picture, half-open edges; what lies outside of the shown part is cut off.
            None at all: the target is not there.
        geometry: of the volume.

    Raises:
        ServiceError: `key_slice_not_shown`, or `bad_boxes`.
    """
    shown = geometry.source_index.tolist()
    if key_slice not in shown:
        nearest = min(shown, key=lambda index: abs(index - key_slice))
        raise ServiceError(
            "key_slice_not_shown",
            f"slice {key_slice} is none of those that the models see; the nearest of these is {nearest}.",
        )
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
    return format_completion(EvidenceAnchor(shown.index(key_slice), boxes_px_to_1000(inside, height, width)))


def _displayed_boxes(boxes_1000: Sequence[Sequence[int]], geometry: SliceGeometry) -> list[list[float]]:
    left, top, right, bottom = geometry.shown_xyxy_px
    boxes = boxes_1000_to_px(boxes_1000, bottom - top, right - left) + (left, top, left, top)
    return np.round(boxes, 3).tolist()

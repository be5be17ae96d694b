"""The record of an answer: what `<case>_evidence.json` holds and MONAI Label returns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..volume.geometry import SliceGeometry, source_slice


class EvidenceRecordd(MapTransform):
    """Sets `data["result"]` to the record of a restored mask, see `evidence_record`.

    MONAI Label returns `result` to its client; `case_writer.CaseWriter` writes it.

    Args:
        keys: of the mask, uint8 [1, X, Y, Z], with the inferer's evidence in its meta data.
        ref_key: of the preprocessed image.
        weights: names of the weights that were used, for the record.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        ref_key: str = "image",
        weights: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(keys)
        self.ref_key = ref_key
        self.weights = dict(weights or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        recorded = dict(data)
        for key in self.key_iterator(recorded):
            mask, meta = recorded[key], recorded[self.ref_key].meta
            recorded["result"] = evidence_record(
                mask.meta["evidence"], mask[0].cpu().numpy(), meta, query=meta["query"], weights=self.weights
            )
        return recorded


def evidence_record(
    evidence: Mapping[str, Any],
    mask: np.ndarray,
    image_meta: Mapping[str, Any],
    *,
    query: str,
    weights: Mapping[str, str | None],
) -> dict[str, Any]:
    """The record, as plain JSON types.

    Args:
        evidence: of the inferer, see `inferer.EvidenceInferer`.
        mask: [X, Y, Z], nonzero is predicted.
        image_meta: of the preprocessed image: its geometry and its path.
        query: that was asked.
        weights: names of the weights that were used.

    Returns:
        `image`, `query`, `status` ("ok", "absent", "abstained", or why the completion does not parse), `completion`,
        `think`, `key_slice` (1-based, as shown), `source_slice` (0-based along the source's axial axis), `boxes_1000`,
        `boxes_px` (of the shown slices), `points_1000`, `points_px` (a list of each object, empty without points),
        `slices_shown`, `shown_xyxy_px` (what they show of an LPS slice), `agreement` and `answers` (of several answers,
        see `self_consistency`; None for one), `corrected` (whether a person gave the evidence), `voxels`, `volume_ml`
        (None where the size of a voxel is not known), `seconds`, `weights`.
    """
    geometry = SliceGeometry.from_meta(image_meta)
    key_index = evidence["key_index"]
    voxels = int(np.count_nonzero(mask))
    voxel_mm3 = abs(float(np.linalg.det(geometry.source_affine[:3, :3])))
    return {
        "image": str(image_meta.get("filename_or_obj", "")),
        "query": query,
        "status": evidence["status"],
        "completion": evidence["completion"],
        "think": evidence["think"],
        "key_slice": None if key_index is None else key_index + 1,
        "source_slice": None if key_index is None else source_slice(geometry, key_index),
        "boxes_1000": evidence["boxes_1000"],
        "boxes_px": evidence["boxes_px"],
        "points_1000": evidence.get("points_1000", []),
        "points_px": evidence.get("points_px", []),
        "slices_shown": len(geometry.source_index),
        "shown_xyxy_px": list(geometry.shown_xyxy_px),
        "agreement": evidence.get("agreement"),
        "answers": evidence.get("answers"),
        "corrected": evidence.get("corrected", False),
        "voxels": voxels,
        "volume_ml": round(voxels * voxel_mm3 / 1000, 3) if image_meta.get("has_spacing", True) else None,
        "seconds": evidence["seconds"],
        "weights": dict(weights),
    }


def marks_in_words(record: Mapping[str, Any]) -> str:
    """What a record's objects are marked by, counted.

    >>> marks_in_words({"boxes_1000": [[0, 0, 9, 9]], "points_1000": [[[3, 4], [5, 6]]]})
    '1 box, 2 points'
    """
    boxes, points = len(record["boxes_1000"]), sum(map(len, record.get("points_1000", ())))
    words = ["1 box" if boxes == 1 else f"{boxes} boxes"] if boxes or not points else []
    words += ["1 point" if points == 1 else f"{points} points"] if points else []
    return ", ".join(words)

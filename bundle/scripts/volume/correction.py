"""Evidence that a person gives in the place of the language model's: checked, and into the image's meta data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..anchor import (
    ANSWER_KEYS,
    BOX_SCALE,
    FAILURE_REASONS,
    MAX_BOXES,
    POINTS_KEY,
    ParseFailure,
    format_completion,
    parse_answer,
)
from ..errors import ReasonedError

QUERY_OF_BOXES = "what the given boxes mark"
"""The query of evidence that comes without one."""


class CorrectionError(ReasonedError):
    """Evidence of a person that cannot be used; its reasons are those of a completion that does not parse."""

    reasons = FAILURE_REASONS


class CorrectionToMetad(MapTransform):
    """Put a key slice and boxes that the data holds into the image's meta data, as an answer that is given.

    `data["key_slice"]` and `data["bbox_2d_list"]` are what the language model would answer and what the record of an
    earlier answer holds: `key_slice` (1-based among the shown slices) and `boxes_1000`; `data["point_2d_list"]` may
    give points beside them, as `points_1000` does. `meta["given_answer"]` is the same in the form of a
    completion. With it a query may be missing: `QUERY_OF_BOXES` is put in its place, so this stands in front of
    `QueryToMetad`. Data without the keys, or with null there, stays as it is.

    Args:
        keys: of MetaTensors [C, S, H, W], the shown slices.
        query_key: of the query in the data.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        CorrectionError: one of the two without the other, a key slice or a box out of range, ...: see
            `anchor.FAILURE_REASONS`.
    """

    def __init__(
        self, keys: KeysCollection = "image", query_key: str = "query", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.query_key = query_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        corrected = dict(data)
        given = {key: corrected[key] for key in (*ANSWER_KEYS, POINTS_KEY) if corrected.get(key) is not None}
        if not given:
            return corrected
        if corrected.get(self.query_key) is None:
            corrected[self.query_key] = QUERY_OF_BOXES
        for key in self.key_iterator(corrected):
            image = corrected[key]
            answer = _checked(given, num_slices=image.shape[1])
            corrected[key] = MetaTensor(image.as_tensor(), meta=image.meta | {"given_answer": answer})
        return corrected


def _checked(given: Mapping[str, Any], num_slices: int) -> str:
    """The completion that states the evidence."""
    anchor = parse_answer(given, num_slices, "boxes_and_points")
    if isinstance(anchor, ParseFailure):
        raise CorrectionError(
            anchor.reason,
            f"the given evidence cannot be used: {anchor.reason}, {anchor.detail}; give key_slice, 1 to {num_slices}, "
            f"and bbox_2d_list, at most {MAX_BOXES} boxes [x1, y1, x2, y2] of whole numbers 0 to {BOX_SCALE} across "
            f"the shown slice, x1 < x2 and y1 < y2; {POINTS_KEY}, if there are points, has a list of [x, y] a box.",
        )
    return format_completion(anchor, form="boxes_and_points")

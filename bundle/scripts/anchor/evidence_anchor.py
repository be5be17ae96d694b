"""A key slice and what marks the target on it; why a text is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BOX_SCALE = 1000
"""Boxes and points in text are whole numbers from 0 to this, along either side of the slice."""

MAX_BOXES = 16
"""More boxes than this is not an answer (an unbounded list would let a policy cover everything)."""

MAX_POINTS = 16
"""More points of one object than this is not an answer."""

FAILURE_REASONS = (
    "not_text",  # the completion is not a string
    "missing_tag",  # one of the four tags is absent (as when the completion was cut at the token limit)
    "repeated_tag",  # a tag occurs more than once
    "wrong_order",  # tags are nested or swapped
    "text_outside_tags",  # something other than white space before, between or behind the two blocks
    "invalid_json",  # the answer is not JSON (NaN, Infinity and repeated keys included)
    "wrong_schema",  # JSON, but not the object asked for
    "key_slice_not_integer",
    "key_slice_out_of_range",
    "box_not_four_integers",
    "box_out_of_range",
    "box_without_area",  # inverted or empty
    "too_many_boxes",
    "point_not_two_integers",
    "point_out_of_range",
    "points_without_object",  # not one list of points a box, or an object that nothing marks
    "too_many_points",
)

Box = tuple[int, int, int, int]
Point = tuple[int, int]


@dataclass(frozen=True)
class EvidenceAnchor:
    """A key slice and what marks the target on it; valid by construction.

    An object is marked by a box, by positive points, or by both. Neither boxes nor points mean "the target is not
    present".

    Args:
        key_index: 0-based index among the shown slices.
        boxes_xyxy_1000: boxes (x1, y1, x2, y2), whole numbers in 0..1000, half-open edges, x along the columns (image
            left to right), y along the rows (top to bottom).
        points_xy_1000: for each object its points (x, y) in 0..1000, as long as the boxes, `()` for a box without
            points. Without any box: one entry for each object, none of them `()`. Without any point: empty.

    Raises:
        ValueError: a negative index, a box that is not four integers in range with x1 < x2 and y1 < y2, a point that is
            not two integers in range, more of them than is legal, or points that belong to no object.
    """

    key_index: int
    boxes_xyxy_1000: tuple[Box, ...]
    points_xy_1000: tuple[tuple[Point, ...], ...] = ()

    def __post_init__(self) -> None:
        if not is_integer(self.key_index) or self.key_index < 0:
            raise ValueError(f"key_index must be an integer >= 0, got {self.key_index!r}.")
        if len(self.boxes_xyxy_1000) > MAX_BOXES:
            raise ValueError(f"An anchor holds at most {MAX_BOXES} boxes, got {len(self.boxes_xyxy_1000)}.")
        for box in self.boxes_xyxy_1000:
            failure = box_failure(box)
            if failure is not None:
                raise ValueError(f"Not a box (x1, y1, x2, y2) of whole numbers 0..{BOX_SCALE}: {failure.detail}.")
        failure = points_failure(self.points_xy_1000, len(self.boxes_xyxy_1000))
        if failure is not None:
            raise ValueError(f"Not the points (x, y) of objects, whole numbers 0..{BOX_SCALE}: {failure.detail}.")
        if self.boxes_xyxy_1000 and not any(self.points_xy_1000):
            object.__setattr__(self, "points_xy_1000", ())  # the one way to say "no points", so that equal is equal

    @property
    def is_absent(self) -> bool:
        """Whether the answer says that the target is not in the volume."""
        return not self.boxes_xyxy_1000 and not self.points_xy_1000


@dataclass(frozen=True)
class ParseFailure:
    """Why a completion is not an anchor.

    Args:
        reason: one of `FAILURE_REASONS`.
        detail: the offending part, for a person; at most about a hundred characters.
    """

    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.reason not in FAILURE_REASONS:
            raise ValueError(f"Unknown failure reason {self.reason!r}; legal are {', '.join(FAILURE_REASONS)}.")


def box_failure(box: object) -> ParseFailure | None:
    """Why this is not a box (x1, y1, x2, y2)."""
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(is_integer(value) for value in box):
        return ParseFailure("box_not_four_integers", short(repr(box)))
    x1, y1, x2, y2 = box
    if not all(0 <= value <= BOX_SCALE for value in box):
        return ParseFailure("box_out_of_range", f"{short(repr(box))}, legal are 0 to {BOX_SCALE}")
    if x1 >= x2 or y1 >= y2:
        return ParseFailure("box_without_area", short(repr(box)))
    return None


def points_failure(points: Sequence[object], num_boxes: int) -> ParseFailure | None:
    """Why these are not the points of objects, a list each, of which `num_boxes` have a box."""
    if num_boxes and len(points) not in (0, num_boxes):
        return ParseFailure("points_without_object", f"{len(points)} lists of points for {num_boxes} boxes")
    if len(points) > MAX_BOXES:
        return ParseFailure("too_many_points", f"{len(points)} objects, at most {MAX_BOXES}")
    for of_object in points:
        if not isinstance(of_object, list | tuple):
            return ParseFailure("point_not_two_integers", f"{short(repr(of_object))}, not a list of points")
        if not of_object and not num_boxes:
            return ParseFailure("points_without_object", "an object without a box and without points")
        if len(of_object) > MAX_POINTS:
            return ParseFailure("too_many_points", f"{len(of_object)} of one object, at most {MAX_POINTS}")
        for point in of_object:
            if not isinstance(point, list | tuple) or len(point) != 2 or not all(map(is_integer, point)):
                return ParseFailure("point_not_two_integers", short(repr(point)))
            if not all(0 <= value <= BOX_SCALE for value in point):
                return ParseFailure("point_out_of_range", f"{short(repr(point))}, legal are 0 to {BOX_SCALE}")
    return None


def is_integer(value: object) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def short(text: str) -> str:
    """Its first hundred characters at most, for a message."""
    return text if len(text) <= 100 else text[:97] + "..."

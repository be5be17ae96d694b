"""The evidence anchor: what the language model answers, and how text becomes one and back.

The model writes `<think>...</think><answer>{"key_slice": k, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>`
(paper, Sec. 2.4 and 2.5, R_f). In text the key slice is 1-based among the shown slices, boxes and points are whole
numbers from 0 to 1000 across the slice; in code the slice is a 0-based `key_index`.

The answer block has one of three forms, see `ANSWER_FORMS`; in `boxes_and_points` and `image` an object may have
positive points (MedReasoner, arXiv 2508.08177, asks for a box and two points on a single image).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

BOX_SCALE = 1000
"""Boxes and points in text are whole numbers from 0 to this, along either side of the slice."""

ANSWER_KEYS, POINTS_KEY = ("key_slice", "bbox_2d_list"), "point_2d_list"
"""What an answer about slices states, and what it may state beside it where points are asked for."""

IMAGE_KEYS = ("bbox", "points_1", "points_2")
"""What an answer about a single image states."""

MAX_BOXES = 16
"""More boxes than this is not an answer (an unbounded list would let a policy cover everything)."""

MAX_POINTS = 16
"""More points of one object than this is not an answer."""

AnswerForm = Literal[
    "boxes",  # {"key_slice": k, "bbox_2d_list": [box, ...]}
    "boxes_and_points",  # the same, and optionally "point_2d_list": [[point, ...], ...], one list of points a box
    "image",  # {"bbox": box, "points_1": point, "points_2": point}: one object on the only slice
]
ANSWER_FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)

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
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_TAG_PATTERN = re.compile("|".join(_TAGS))


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
        if not _is_integer(self.key_index) or self.key_index < 0:
            raise ValueError(f"key_index must be an integer >= 0, got {self.key_index!r}.")
        if len(self.boxes_xyxy_1000) > MAX_BOXES:
            raise ValueError(f"An anchor holds at most {MAX_BOXES} boxes, got {len(self.boxes_xyxy_1000)}.")
        for box in self.boxes_xyxy_1000:
            failure = _box_failure(box)
            if failure is not None:
                raise ValueError(f"Not a box (x1, y1, x2, y2) of whole numbers 0..{BOX_SCALE}: {failure.detail}.")
        failure = _points_failure(self.points_xy_1000, len(self.boxes_xyxy_1000))
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


def parse_completion(text: str, num_slices: int, form: AnswerForm = "boxes") -> EvidenceAnchor | ParseFailure:
    """Reads a completion strictly. Never raises for any text and never executes it.

    An answer about slices may also have the form of the authors' later release, `[{"slice": k, "bbox_2d_list": [...]}]`
    with one element; its index is read like `key_slice`.

    Args:
        text: the completion, special tokens of the end already cut.
        num_slices: number of shown slices S; legal key slices are 1..S.
        form: of the answer, one of `ANSWER_FORMS`; "image" is for a single slice, whose object is on index 0.

    Returns:
        The anchor, or a failure with a reason from `FAILURE_REASONS`.

    Raises:
        ValueError: another form, or "image" for several slices.
    """
    _check_form(form)
    if form == "image" and num_slices != 1:
        raise ValueError(f'num_slices is {num_slices}; an answer of the form "image" is about 1 (key `answer_form`).')
    if not isinstance(text, str):
        return ParseFailure("not_text", type(text).__name__)
    blocks = _split_blocks(text)
    if isinstance(blocks, ParseFailure):
        return blocks
    try:
        answer = json.loads(blocks[1], parse_constant=_refuse_constant, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        return ParseFailure("invalid_json", _short(str(error)))
    if (
        form != "image"
        and isinstance(answer, list)
        and len(answer) == 1
        and isinstance(answer[0], dict)
        and "slice" in answer[0]
    ):
        answer = {("key_slice" if key == "slice" else key): value for key, value in answer[0].items()}
    if not isinstance(answer, dict):
        return ParseFailure("wrong_schema", _short(blocks[1]))
    return parse_answer(answer, num_slices, form)


def parse_answer(
    answer: Mapping[str, Any], num_slices: int, form: AnswerForm = "boxes"
) -> EvidenceAnchor | ParseFailure:
    """What `parse_completion` makes of the answer in a completion; also for one that a person gives.

    Args:
        answer: from JSON: the keys of the form.
        num_slices: number of shown slices S; legal key slices are 1..S.
        form: see `parse_completion`.

    Returns:
        The anchor, or a failure with a reason from `FAILURE_REASONS`.
    """
    keys = IMAGE_KEYS if form == "image" else ANSWER_KEYS
    optional = {POINTS_KEY} if form == "boxes_and_points" else set()
    if set(answer) - optional != set(keys):
        wanted = f"{', '.join(keys[:-1])} and {keys[-1]}"
        return ParseFailure("wrong_schema", f"{_short(', '.join(answer))}, wanted are {wanted}")
    if form == "image":
        bbox, *points = (answer[key] for key in IMAGE_KEYS)
        return _anchor_from_answer(1, [bbox], [points], num_slices)
    return _anchor_from_answer(*(answer[key] for key in ANSWER_KEYS), answer.get(POINTS_KEY, []), num_slices)


def split_think(text: str) -> str:
    """The text between the first `<think>` and `</think>`, stripped; empty when there is none. For reports."""
    if not isinstance(text, str):
        return ""
    match = re.search(r"<think>(.*?)</think>", text, flags=re.DOTALL)
    return match.group(1).strip() if match else ""


def format_completion(anchor: EvidenceAnchor, think: str = "", form: AnswerForm = "boxes") -> str:
    """The completion that states an anchor; `parse_completion` of it gives the same anchor.

    >>> format_completion(EvidenceAnchor(0, ((10, 20, 30, 40),), (((15, 25), (25, 35)),)), form="image")
    '<think></think><answer>{"bbox": [10, 20, 30, 40], "points_1": [15, 25], "points_2": [25, 35]}</answer>'

    Args:
        anchor: what to state.
        think: the reasoning in front of it, without tags.
        form: of the answer, one of `ANSWER_FORMS`.

    Raises:
        ValueError: `think` holds one of the four tags, or the anchor cannot be said in this form.
    """
    _check_form(form)
    if _TAG_PATTERN.search(think):
        raise ValueError(f"The reasoning must not hold any of {', '.join(_TAGS)}, got {_short(think)!r}.")
    boxes = [list(box) for box in anchor.boxes_xyxy_1000]
    points = [[list(point) for point in points] for points in anchor.points_xy_1000]
    answer: dict[str, Any] = dict(zip(ANSWER_KEYS, (anchor.key_index + 1, boxes), strict=True))
    if form == "image":
        if anchor.key_index or len(boxes) != 1 or [len(of_object) for of_object in points] != [2]:
            raise ValueError(f'In the form "image" one box and two points on slice 0 can be said, got {anchor}.')
        answer = dict(zip(IMAGE_KEYS, (boxes[0], *points[0]), strict=True))
    elif points:
        if form == "boxes":
            raise ValueError(f'The form "boxes" has no points; "boxes_and_points" has, for {anchor}.')
        answer[POINTS_KEY] = points
    return f"<think>{think}</think><answer>{json.dumps(answer)}</answer>"


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


def _split_blocks(text: str) -> tuple[str, str] | ParseFailure:
    found = _TAG_PATTERN.findall(text)
    for tag in _TAGS:
        if found.count(tag) > 1:
            return ParseFailure("repeated_tag", tag)
    for tag in _TAGS:
        if tag not in found:
            return ParseFailure("missing_tag", tag)
    if tuple(found) != _TAGS:
        return ParseFailure("wrong_order", " ".join(found))
    before, think, between, answer, behind = _TAG_PATTERN.split(text)
    outside = (before + between + behind).strip()
    if outside:
        return ParseFailure("text_outside_tags", _short(outside))
    return think, answer


def _anchor_from_answer(key_slice: Any, boxes: Any, points: Any, num_slices: int) -> EvidenceAnchor | ParseFailure:
    if not _is_integer(key_slice):
        return ParseFailure("key_slice_not_integer", _short(repr(key_slice)))
    if not 1 <= key_slice <= num_slices:
        return ParseFailure("key_slice_out_of_range", f"{_short(repr(key_slice))}, legal are 1 to {num_slices}")
    for name, value in (("bbox_2d_list", boxes), ("point_2d_list", points)):
        if not isinstance(value, list):
            return ParseFailure("wrong_schema", f"{name} is {_short(repr(value))}, not a list")
    if len(boxes) > MAX_BOXES:
        return ParseFailure("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        failure = _box_failure(box)
        if failure is not None:
            return failure
    failure = _points_failure(points, len(boxes))
    if failure is not None:
        return failure
    points = tuple(tuple(tuple(point) for point in of_object) for of_object in points)
    return EvidenceAnchor(key_slice - 1, tuple(tuple(box) for box in boxes), points)


def _box_failure(box: object) -> ParseFailure | None:
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_integer(value) for value in box):
        return ParseFailure("box_not_four_integers", _short(repr(box)))
    x1, y1, x2, y2 = box
    if not all(0 <= value <= BOX_SCALE for value in box):
        return ParseFailure("box_out_of_range", f"{_short(repr(box))}, legal are 0 to {BOX_SCALE}")
    if x1 >= x2 or y1 >= y2:
        return ParseFailure("box_without_area", _short(repr(box)))
    return None


def _points_failure(points: Sequence[object], num_boxes: int) -> ParseFailure | None:
    """Why these are not the points of objects, a list each, of which `num_boxes` have a box."""
    if num_boxes and len(points) not in (0, num_boxes):
        return ParseFailure("points_without_object", f"{len(points)} lists of points for {num_boxes} boxes")
    if len(points) > MAX_BOXES:
        return ParseFailure("too_many_points", f"{len(points)} objects, at most {MAX_BOXES}")
    for of_object in points:
        if not isinstance(of_object, list | tuple):
            return ParseFailure("point_not_two_integers", f"{_short(repr(of_object))}, not a list of points")
        if not of_object and not num_boxes:
            return ParseFailure("points_without_object", "an object without a box and without points")
        if len(of_object) > MAX_POINTS:
            return ParseFailure("too_many_points", f"{len(of_object)} of one object, at most {MAX_POINTS}")
        for point in of_object:
            if not isinstance(point, list | tuple) or len(point) != 2 or not all(map(_is_integer, point)):
                return ParseFailure("point_not_two_integers", _short(repr(point)))
            if not all(0 <= value <= BOX_SCALE for value in point):
                return ParseFailure("point_out_of_range", f"{_short(repr(point))}, legal are 0 to {BOX_SCALE}")
    return None


def _check_form(form: str) -> None:
    if form not in ANSWER_FORMS:
        raise ValueError(f"answer_form is {form!r}; legal are {', '.join(ANSWER_FORMS)}.")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."

"""The answer of the language model: text to an anchor, an anchor to text.

The answer block has one of three forms, see `ANSWER_FORMS`; in `boxes_and_points` and `image` an object may have
positive points (MedReasoner, arXiv 2508.08177, asks for a box and two points on a single image).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from .evidence_anchor import (
    MAX_BOXES,
    EvidenceAnchor,
    ParseFailure,
    box_failure,
    is_integer,
    points_failure,
    short,
)

ANSWER_KEYS, POINTS_KEY = ("key_slice", "bbox_2d_list"), "point_2d_list"
"""What an answer about slices states, and what it may state beside it where points are asked for."""

IMAGE_KEYS = ("bbox", "points_1", "points_2")
"""What an answer about a single image states."""

AnswerForm = Literal[
    "boxes",  # {"key_slice": k, "bbox_2d_list": [box, ...]}
    "boxes_and_points",  # the same, and optionally "point_2d_list": [[point, ...], ...], one list of points a box
    "image",  # {"bbox": box, "points_1": point, "points_2": point}: one object on the only slice
]
ANSWER_FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_TAG_PATTERN = re.compile("|".join(_TAGS))


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
        return ParseFailure("invalid_json", short(str(error)))
    if (
        form != "image"
        and isinstance(answer, list)
        and len(answer) == 1
        and isinstance(answer[0], dict)
        and "slice" in answer[0]
    ):
        answer = {("key_slice" if key == "slice" else key): value for key, value in answer[0].items()}
    if not isinstance(answer, dict):
        return ParseFailure("wrong_schema", short(blocks[1]))
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
        return ParseFailure("wrong_schema", f"{short(', '.join(answer))}, wanted are {wanted}")
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
        raise ValueError(f"The reasoning must not hold any of {', '.join(_TAGS)}, got {short(think)!r}.")
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
        return ParseFailure("text_outside_tags", short(outside))
    return think, answer


def _anchor_from_answer(key_slice: Any, boxes: Any, points: Any, num_slices: int) -> EvidenceAnchor | ParseFailure:
    if not is_integer(key_slice):
        return ParseFailure("key_slice_not_integer", short(repr(key_slice)))
    if not 1 <= key_slice <= num_slices:
        return ParseFailure("key_slice_out_of_range", f"{short(repr(key_slice))}, legal are 1 to {num_slices}")
    for name, value in (("bbox_2d_list", boxes), ("point_2d_list", points)):
        if not isinstance(value, list):
            return ParseFailure("wrong_schema", f"{name} is {short(repr(value))}, not a list")
    if len(boxes) > MAX_BOXES:
        return ParseFailure("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        failure = box_failure(box)
        if failure is not None:
            return failure
    failure = points_failure(points, len(boxes))
    if failure is not None:
        return failure
    points = tuple(tuple(tuple(point) for point in of_object) for of_object in points)
    return EvidenceAnchor(key_slice - 1, tuple(tuple(box) for box in boxes), points)


def _check_form(form: str) -> None:
    if form not in ANSWER_FORMS:
        raise ValueError(f"answer_form is {form!r}; legal are {', '.join(ANSWER_FORMS)}.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result

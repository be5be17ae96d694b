"""The evidence anchor: what the language model answers, and how text becomes one and back.

The model writes `<think>...</think><answer>{"key_slice": k, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>`
(paper, Sec. 2.4 and 2.5, R_f). In text the key slice is 1-based among the shown slices and boxes are whole numbers
from 0 to 1000 across the slice; in code the slice is a 0-based `key_index`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BOX_SCALE = 1000
"""Boxes in text are whole numbers from 0 to this, along either side of the slice."""

ANSWER_KEYS = ("key_slice", "bbox_2d_list")
"""What an answer states."""

MAX_BOXES = 16
"""More boxes than this is not an answer (an unbounded list would let a policy cover everything)."""

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
)

Box = tuple[int, int, int, int]
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_TAG_PATTERN = re.compile("|".join(_TAGS))


@dataclass(frozen=True)
class EvidenceAnchor:
    """A key slice and the boxes on it; valid by construction.

    Args:
        key_index: 0-based index among the shown slices.
        boxes_xyxy_1000: boxes (x1, y1, x2, y2), whole numbers in 0..1000, half-open edges, x along the columns (image
            left to right), y along the rows (top to bottom). Empty means "the target is not present".

    Raises:
        ValueError: a negative index, or a box that is not four integers in range with x1 < x2 and y1 < y2.
    """

    key_index: int
    boxes_xyxy_1000: tuple[Box, ...]

    def __post_init__(self) -> None:
        if not _is_integer(self.key_index) or self.key_index < 0:
            raise ValueError(f"key_index must be an integer >= 0, got {self.key_index!r}.")
        if len(self.boxes_xyxy_1000) > MAX_BOXES:
            raise ValueError(f"An anchor holds at most {MAX_BOXES} boxes, got {len(self.boxes_xyxy_1000)}.")
        for box in self.boxes_xyxy_1000:
            failure = _box_failure(box)
            if failure is not None:
                raise ValueError(f"Not a box (x1, y1, x2, y2) of whole numbers 0..{BOX_SCALE}: {failure.detail}.")

    @property
    def is_absent(self) -> bool:
        """Whether the answer says that the target is not in the volume."""
        return not self.boxes_xyxy_1000


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


def parse_completion(text: str, num_slices: int) -> EvidenceAnchor | ParseFailure:
    """Reads a completion strictly. Never raises for any text and never executes it.

    The answer may also have the form of the authors' later release, `[{"slice": k, "bbox_2d_list": [...]}]` with one
    element; its index is read like `key_slice`.

    Args:
        text: the completion, special tokens of the end already cut.
        num_slices: number of shown slices S; legal key slices are 1..S.

    Returns:
        The anchor, or a failure with a reason from `FAILURE_REASONS`.
    """
    if not isinstance(text, str):
        return ParseFailure("not_text", type(text).__name__)
    blocks = _split_blocks(text)
    if isinstance(blocks, ParseFailure):
        return blocks
    try:
        answer = json.loads(blocks[1], parse_constant=_refuse_constant, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        return ParseFailure("invalid_json", _short(str(error)))
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict) and "slice" in answer[0]:
        answer = {("key_slice" if key == "slice" else key): value for key, value in answer[0].items()}
    if not isinstance(answer, dict):
        return ParseFailure("wrong_schema", _short(blocks[1]))
    return parse_answer(answer, num_slices)


def parse_answer(answer: Mapping[str, Any], num_slices: int) -> EvidenceAnchor | ParseFailure:
    """What `parse_completion` makes of the answer in a completion; also for one that a person gives.

    Args:
        answer: from JSON, `key_slice` (1-based) and `bbox_2d_list`.
        num_slices: number of shown slices S; legal key slices are 1..S.

    Returns:
        The anchor, or a failure with a reason from `FAILURE_REASONS`.
    """
    if set(answer) != set(ANSWER_KEYS):
        return ParseFailure("wrong_schema", f"{_short(', '.join(answer))}, wanted are {' and '.join(ANSWER_KEYS)}")
    return _anchor_from_answer(answer["key_slice"], answer["bbox_2d_list"], num_slices)


def split_think(text: str) -> str:
    """The text between the first `<think>` and `</think>`, stripped; empty when there is none. For reports."""
    if not isinstance(text, str):
        return ""
    match = re.search(r"<think>(.*?)</think>", text, flags=re.DOTALL)
    return match.group(1).strip() if match else ""


def format_completion(anchor: EvidenceAnchor, think: str = "") -> str:
    """The completion that states an anchor; `parse_completion` of it gives the same anchor.

    Args:
        anchor: what to state.
        think: the reasoning in front of it, without tags.

    Raises:
        ValueError: `think` holds one of the four tags.
    """
    if _TAG_PATTERN.search(think):
        raise ValueError(f"The reasoning must not hold any of {', '.join(_TAGS)}, got {_short(think)!r}.")
    boxes = [list(box) for box in anchor.boxes_xyxy_1000]
    answer = json.dumps({"key_slice": anchor.key_index + 1, "bbox_2d_list": boxes})
    return f"<think>{think}</think><answer>{answer}</answer>"


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


def _anchor_from_answer(key_slice: Any, boxes: Any, num_slices: int) -> EvidenceAnchor | ParseFailure:
    if not _is_integer(key_slice):
        return ParseFailure("key_slice_not_integer", _short(repr(key_slice)))
    if not 1 <= key_slice <= num_slices:
        return ParseFailure("key_slice_out_of_range", f"{_short(repr(key_slice))}, legal are 1 to {num_slices}")
    if not isinstance(boxes, list):
        return ParseFailure("wrong_schema", f"bbox_2d_list is {_short(repr(boxes))}, not a list")
    if len(boxes) > MAX_BOXES:
        return ParseFailure("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        failure = _box_failure(box)
        if failure is not None:
            return failure
    return EvidenceAnchor(key_slice - 1, tuple(tuple(box) for box in boxes))


def _box_failure(box: object) -> ParseFailure | None:
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_integer(value) for value in box):
        return ParseFailure("box_not_four_integers", _short(repr(box)))
    x1, y1, x2, y2 = box
    if not all(0 <= value <= BOX_SCALE for value in box):
        return ParseFailure("box_out_of_range", f"{_short(repr(box))}, legal are 0 to {BOX_SCALE}")
    if x1 >= x2 or y1 >= y2:
        return ParseFailure("box_without_area", _short(repr(box)))
    return None


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

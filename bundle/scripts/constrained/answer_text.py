"""The text of an answer, character by character: what may come next, in the form of `anchor.format_completion`.

`<think>`, any text without a tag, `</think><answer>`, an answer in one of `anchor.ANSWER_FORMS`, `</answer>`:

    boxes               {"key_slice": k, "bbox_2d_list": [[x1, y1, x2, y2], ...]}
    boxes_and_points    the same, or with one list of points a box, "point_2d_list": [[[x, y], ...], ...]
    image               {"bbox": [x1, y1, x2, y2], "points_1": [x, y], "points_2": [x, y]}

with k in 1..S, at most 16 boxes of whole numbers 0..1000, x1 < x2 and y1 < y2, and at most 16 points of a box. All that
is written so parses.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ..anchor import BOX_SCALE, MAX_BOXES, MAX_POINTS, AnswerForm

_Place = Literal[
    "think", "behind_less_than",
    "key_slice", "number", "coordinate",
    "first_box", "next_box", "points", "first_point", "next_point",
    "end",
]  # fmt: skip
NUMBERS = ("key_slice", "number", "coordinate")
"""Places where a whole number stands."""

_REASONED = "</think><answer>{"
_BEHIND_KEY_SLICE = ', "bbox_2d_list": ['
_BEHIND_ALL = "}</answer>"
_DIGITS = "0123456789"


class Written(NamedTuple):
    """How far an answer is written: all that its continuation depends on.

    Args:
        fixed: what comes before anything else.
        place: what stands behind that: the reasoning; the reasoning behind a `<`; the key slice, a number of a box or
            of a point; the first box or none; another box or none; points or none; the first point of a box or none;
            another one or none; nothing.
        digits: of the number, so far.
        box: the numbers of the box or point, so far.
        boxes: whole boxes.
        points: whole points of the box whose points are written.
        marked: boxes whose points are all written.
    """

    fixed: str
    place: _Place
    digits: str = ""
    box: tuple[int, ...] = ()
    boxes: int = 0
    points: int = 0
    marked: int = 0


NOTHING = Written("<think>", "think")
"""Before the first character."""
_REASONING = Written("", "think")


class AnswerText:
    """What an answer about S slices may go on with.

    Args:
        num_slices: S.
        form: of the answer, one of `anchor.ANSWER_FORMS`; "image" for a single slice.
    """

    def __init__(self, num_slices: int, form: AnswerForm = "boxes") -> None:
        self.num_slices = num_slices
        self.form = form
        opening, place = ('"bbox": [', "number") if form == "image" else ('"key_slice": ', "key_slice")
        self._behind_reasoning = Written(_REASONED + opening, place)

    def after(self, written: Written, text: str) -> Written | None:
        """How far it is written with a text more; None if it may not go on so."""
        if written == _REASONING and "<" not in text:
            return written  # the many tokens of reasoning, at once
        for character in text:
            following = self._after_character(written, character)
            if following is None:
                return None
            written = following
        return written

    def choices(self, written: Written) -> str | None:
        """The characters that may come; none at the end, None where nearly every one may: in the reasoning."""
        if written.fixed:
            return written.fixed[0]
        if written.place in NUMBERS:
            digits = [digit for digit in _DIGITS if self._begins_number(written, written.digits + digit)]
            return "".join(digits) + (self._behind_number(written).fixed[0] if self._is_number(written) else "")
        if written.place == "next_box":
            return ",]" if written.boxes < MAX_BOXES else "]"
        if written.place == "next_point":
            return ",]" if written.points < MAX_POINTS else "]"
        return {"first_box": "[]", "points": ",}", "first_point": "[]", "end": ""}.get(written.place)

    def begins_number(self, written: Written, beginnings: np.ndarray) -> np.ndarray:
        """Which whole numbers above 0, int64 [n], are the first digits of one that may stand where a number stands."""
        low, high = self._limits(written)
        begins = np.zeros(beginnings.shape, dtype=bool)
        for digits_more in range(len(str(high))):
            first = beginnings * 10**digits_more
            begins |= (first <= high) & (first + 10**digits_more > low)
        return begins

    def without_choice(self, written: Written) -> str:
        """The text that comes in any case, up to where something is left to choose."""
        text = ""
        while (choices := self.choices(written)) is not None and len(choices) == 1:
            text += choices
            written = self._after_character(written, choices)  # one of the choices: never None
        return text

    def early_end(self, written: Written) -> str:
        """A text that ends the answer soon: no more reasoning, boxes or points; few texts for all that may come."""
        text = ""
        while choices := self._soonest(written):
            text += choices
            written = self.after(written, choices)
        return text

    def longest_early_end(self) -> str:
        """The longest of these texts: of nothing, or of points that have just begun, a list for each box."""
        begun = Written(' "point_2d_list": [[', "first_point", boxes=MAX_BOXES)
        of_points = [self.early_end(begun)] if self.form == "boxes_and_points" else []
        return max([self.early_end(NOTHING), *of_points], key=len)

    def _soonest(self, written: Written) -> str:
        if written.fixed:
            return written.fixed
        if written.place == "think":
            return self._behind_reasoning.fixed
        if written.place == "behind_less_than":
            return self._behind_reasoning.fixed[1:]
        if written.place in NUMBERS and self._is_number(written):
            return self._behind_number(written).fixed
        if written.place in ("first_box", "next_box", "first_point", "next_point"):
            return "]"
        if written.place == "points":
            return "}"
        if written.place == "number" and not written.digits and len(written.box) >= 2:
            return str(BOX_SCALE)  # fits whatever x1 and y1 are
        return self.choices(written)[:1]

    def _after_character(self, written: Written, character: str) -> Written | None:
        if written.fixed:
            return Written(written.fixed[1:], *written[1:]) if written.fixed[0] == character else None
        if written.place == "think":
            return written._replace(place="behind_less_than") if character == "<" else written
        if written.place == "behind_less_than":
            return self._behind_less_than(written, character)
        if written.place in NUMBERS:
            return self._in_number(written, character)
        if character not in self.choices(written):
            return None
        if written.place == "points":
            if character == "}":
                return Written(_BEHIND_ALL[1:], "end")
            return Written(' "point_2d_list": [[', "first_point", boxes=written.boxes)
        if written.place in ("first_box", "next_box"):
            return self._in_boxes(written, character)
        return self._in_points(written, character)

    def _in_boxes(self, written: Written, character: str) -> Written:
        if character != "]":
            return Written("" if written.place == "first_box" else " [", "number", boxes=written.boxes)
        if self.form == "boxes_and_points" and written.boxes:
            return Written("", "points", boxes=written.boxes)
        return Written(_BEHIND_ALL, "end")

    @staticmethod
    def _in_points(written: Written, character: str) -> Written:
        if character != "]":
            return written._replace(fixed="" if written.place == "first_point" else " [", place="coordinate")
        marked = written.marked + 1
        if marked == written.boxes:
            return Written("]" + _BEHIND_ALL, "end")
        return Written(", [", "first_point", boxes=written.boxes, marked=marked)

    def _behind_less_than(self, written: Written, character: str) -> Written | None:
        """`<` may stand in the reasoning, but not where one of the tags could follow: only its end may."""
        if character == "/":
            return self._behind_reasoning._replace(fixed=self._behind_reasoning.fixed[2:])
        if character in "ta":
            return None
        return written if character == "<" else written._replace(place="think")

    def _in_number(self, written: Written, character: str) -> Written | None:
        if character in _DIGITS:
            digits = written.digits + character
            return written._replace(digits=digits) if self._begins_number(written, digits) else None
        behind = self._behind_number(written) if self._is_number(written) else None
        return behind._replace(fixed=behind.fixed[1:]) if behind and behind.fixed[0] == character else None

    def _behind_number(self, written: Written) -> Written:
        if written.place == "key_slice":
            return Written(_BEHIND_KEY_SLICE, "first_box")
        box = (*written.box, int(written.digits))
        if len(box) < (4 if written.place == "number" else 2):
            return written._replace(fixed=", ", digits="", box=box)
        if self.form == "image":
            return self._behind_mark(written)
        if written.place == "number":
            return Written("]", "next_box", boxes=written.boxes + 1)
        return written._replace(fixed="]", place="next_point", digits="", box=(), points=written.points + 1)

    @staticmethod
    def _behind_mark(written: Written) -> Written:
        """Behind the box, the first or the second point of a single image."""
        if written.place == "coordinate" and written.points == 1:
            return Written("]" + _BEHIND_ALL, "end")
        points = int(written.place == "coordinate")
        return Written(f'], "points_{points + 1}": [', "coordinate", boxes=1, points=points)

    def _limits(self, written: Written) -> tuple[int, int]:
        """The least and the greatest number."""
        if written.place == "key_slice":
            return 1, self.num_slices
        if written.place == "coordinate":
            return 0, BOX_SCALE
        # x1 and y1 leave room for x2 and y2, which are greater.
        return (0, BOX_SCALE - 1) if len(written.box) < 2 else (written.box[len(written.box) - 2] + 1, BOX_SCALE)

    def _is_number(self, written: Written) -> bool:
        low, high = self._limits(written)
        return bool(written.digits) and low <= int(written.digits) <= high

    def _begins_number(self, written: Written, digits: str) -> bool:
        """Whether a number within the limits begins so."""
        if digits[0] == "0":  # no other number begins with it
            return digits == "0" and self._limits(written)[0] == 0
        low, high = self._limits(written)
        first = last = int(digits)
        while last < low:
            first, last = 10 * first, 10 * last + 9
        return first <= high

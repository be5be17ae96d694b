"""The text of an answer, character by character: what may come next, in the form of `anchor.format_completion`.

`<think>`, any text without a tag, `</think><answer>{"key_slice": k, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>`
with k in 1..S and at most 16 boxes of whole numbers 0..1000, x1 < x2 and y1 < y2. All that is written so parses.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ..anchor import BOX_SCALE, MAX_BOXES

_Place = Literal["think", "behind_less_than", "key_slice", "first_box", "number", "next_box", "end"]
_BEHIND_REASONING = '</think><answer>{"key_slice": '
_BEHIND_KEY_SLICE = ', "bbox_2d_list": ['
_BEHIND_BOXES = "]}</answer>"
_DIGITS = "0123456789"


class Written(NamedTuple):
    """How far an answer is written: all that its continuation depends on.

    Args:
        fixed: what comes before anything else.
        place: what stands behind that: the reasoning; the reasoning behind a `<`; a number; the first box or none;
            another box or none; nothing.
        digits: of the number, so far.
        box: the numbers of the box, so far.
        boxes: whole boxes.
    """

    fixed: str
    place: _Place
    digits: str = ""
    box: tuple[int, ...] = ()
    boxes: int = 0


NOTHING = Written("<think>", "think")
"""Before the first character."""
_REASONING = Written("", "think")


class AnswerText:
    """What an answer about S slices may go on with.

    Args:
        num_slices: S.
    """

    def __init__(self, num_slices: int) -> None:
        self.num_slices = num_slices

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
        if written.place in ("key_slice", "number"):
            digits = [digit for digit in _DIGITS if self._begins_number(written, written.digits + digit)]
            return "".join(digits) + (self._behind_number(written).fixed[0] if self._is_number(written) else "")
        if written.place == "next_box":
            return ",]" if written.boxes < MAX_BOXES else "]"
        return {"first_box": "[]", "end": ""}.get(written.place)

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
        """A text that ends the answer soon: no more reasoning, no more boxes; few texts for all that may be written."""
        text = ""
        while choices := self._soonest(written):
            text += choices
            written = self.after(written, choices)
        return text

    def _soonest(self, written: Written) -> str:
        if written.fixed:
            return written.fixed
        if written.place == "think":
            return _BEHIND_REASONING
        if written.place == "behind_less_than":
            return _BEHIND_REASONING[1:]
        if written.place in ("key_slice", "number") and self._is_number(written):
            return self._behind_number(written).fixed
        if written.place in ("first_box", "next_box"):
            return "]"
        if not written.digits and len(written.box) >= 2:
            return str(BOX_SCALE)  # fits whatever x1 and y1 are
        return self.choices(written)[:1]

    def _after_character(self, written: Written, character: str) -> Written | None:
        if written.fixed:
            return Written(written.fixed[1:], *written[1:]) if written.fixed[0] == character else None
        if written.place == "think":
            return written._replace(place="behind_less_than") if character == "<" else written
        if written.place == "behind_less_than":
            return self._behind_less_than(written, character)
        if written.place in ("key_slice", "number"):
            return self._in_number(written, character)
        if written.place == "end":
            return None
        if character == "]":
            return Written(_BEHIND_BOXES[1:], "end")
        opening = {"first_box": "[", "next_box": ", ["}[written.place]
        if character != opening[0] or written.boxes == MAX_BOXES:
            return None
        return Written(opening[1:], "number", boxes=written.boxes)

    @staticmethod
    def _behind_less_than(written: Written, character: str) -> Written | None:
        """`<` may stand in the reasoning, but not where one of the tags could follow: only its end may."""
        if character == "/":
            return Written(_BEHIND_REASONING[2:], "key_slice")
        if character in "ta":
            return None
        return written if character == "<" else written._replace(place="think")

    def _in_number(self, written: Written, character: str) -> Written | None:
        if character in _DIGITS:
            digits = written.digits + character
            number = Written("", written.place, digits, written.box, written.boxes)
            return number if self._begins_number(written, digits) else None
        behind = self._behind_number(written) if self._is_number(written) else None
        return behind._replace(fixed=behind.fixed[1:]) if behind and behind.fixed[0] == character else None

    def _behind_number(self, written: Written) -> Written:
        if written.place == "key_slice":
            return Written(_BEHIND_KEY_SLICE, "first_box")
        box = (*written.box, int(written.digits))
        if len(box) == 4:
            return Written("]", "next_box", boxes=written.boxes + 1)
        return Written(", ", "number", box=box, boxes=written.boxes)

    def _limits(self, written: Written) -> tuple[int, int]:
        """The least and the greatest number."""
        if written.place == "key_slice":
            return 1, self.num_slices
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

"""Prompts: `<slice i>` tags, images, the query, and the chat template, as token ids.

Everything up to the query is the same for all queries of a volume, so the prompt comes in two parts: a prefix (the
instruction, then each slice behind its tag) and a tail (the query and the turn of the assistant). The parts are
tokenised apart, so that a prefix never depends on a query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..anchor import AnswerForm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_PAD = "<|image_pad|>"

INSTRUCTION = (
    "The images are axial CT slices from inferior to superior, each behind its tag. Find the slice that shows the "
    "target of the query best and box the target on it. Reply with <think>why</think><answer>"
    '{"key_slice": number of the slice, "bbox_2d_list": [[x1, y1, x2, y2]]}</answer>, coordinates from 0 to 1000, '
    "one box for each separate part; an empty list means that the target is not in the images."
)

INSTRUCTIONS: dict[AnswerForm, str] = {
    "boxes": INSTRUCTION,
    "boxes_and_points": (
        "The images are axial CT slices from inferior to superior, each behind its tag. Find the slice that shows the "
        "target of the query best, box the target on it, and mark two points inside each box. Reply with "
        '<think>why</think><answer>{"key_slice": number of the slice, "bbox_2d_list": [[x1, y1, x2, y2]], '
        '"point_2d_list": [[[x, y], [x, y]]]}</answer>, coordinates from 0 to 1000, one box and its points for each '
        "separate part; an empty list of boxes means that the target is not in the images."
    ),
    "image": (
        "Find what the query asks for in the medical image behind its tag, box it, and mark two points inside it. "
        'Reply with <think>why</think><answer>{"bbox": [x1, y1, x2, y2], "points_1": [x, y], "points_2": [x, y]}'
        "</answer>, coordinates from 0 to 1000."
    ),
}
"""What is asked for, by the form of the answer."""


def instruction_of(answer_form: AnswerForm) -> str:
    """What is asked for in a form of the answer.

    Raises:
        ValueError: another form.
    """
    if answer_form not in INSTRUCTIONS:
        raise ValueError(f"answer_form is {answer_form!r}; legal are {', '.join(INSTRUCTIONS)}.")
    return INSTRUCTIONS[answer_form]


# A place holder from Unicode's private use area: no chat template writes it, and queries that hold it lose it.
_MARK = "\ue000"
# Templates of models that always reason open the reasoning in the prompt. The tag belongs to the completion: so it is
# written, trained and parsed as by all other models.
OPENED_REASONING = re.compile(r"<think>\s*$")
_TAG_START = re.compile(r"<(?=[|/!A-Za-z])")


def neutralise(text: str, added_tokens: frozenset[str]) -> str:
    """Makes a user's text unable to form special tokens or tags; the words stay readable.

    A `<` that opens something like a tag (`<|vision_start|>`, `<slice 3>`, `</answer>`) becomes the look-alike `‹`;
    "< 3 cm" stays as it is. Any other added token that still occurs is broken by a zero-width space.

    Args:
        text: the query, any Unicode.
        added_tokens: the tokenizer's added tokens, as text.
    """
    text = _TAG_START.sub("\u2039", text.replace(_MARK, " "))
    for token in sorted(added_tokens, key=len, reverse=True):
        while len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
    return text


def message_content(instruction: str, images: Sequence[Mapping[str, Any]], query: str) -> list[Mapping[str, Any]]:
    """The parts of the user's message, of any chat that takes texts and images.

    Args:
        instruction: see `INSTRUCTION`.
        images: S parts that stand for the slices; each comes behind its tag.
        query: behind all of them, with the blank in front of it.
    """
    content: list[Mapping[str, Any]] = [{"type": "text", "text": instruction + "\n"}]
    for number, image in enumerate(images, 1):
        content += [{"type": "text", "text": f"<slice {number}>"}, image]
    return [*content, {"type": "text", "text": "\nQuery:" + query}]


@dataclass(frozen=True)
class PromptBuilder:
    """Builds prompts through a tokenizer's own chat template.

    Args:
        tokenizer: with a chat template that renders image parts as `<|image_pad|>` between vision marks (Qwen3-VL's).
        instruction: what stands in front of the slices; see `INSTRUCTION`.
    """

    tokenizer: PreTrainedTokenizerBase
    instruction: str = INSTRUCTION

    def prefix_ids(self, num_slices: int, tokens_per_slice: int) -> list[int]:
        """Token ids of everything in front of the query.

        Args:
            num_slices: S; tags are `<slice 1>` ... `<slice S>`.
            tokens_per_slice: visual tokens of one slice after the vision tower's merging.
        """
        prefix, _ = self._rendered(num_slices)
        expanded = prefix.replace(IMAGE_PAD, IMAGE_PAD * tokens_per_slice)
        return self.tokenizer(expanded, add_special_tokens=False).input_ids

    def tail_ids(self, query: str) -> list[int]:
        """Token ids of the query, neutralised, and of what makes it the assistant's turn.

        Raises:
            ValueError: the query still encodes to a special token (a tokenizer that normalises text into one).
        """
        return self._asked(query)[1] + self._turn_ids

    def messages(self, num_slices: int, query: str) -> list[dict[str, Any]]:
        """The same prompt as a chat, for engines that render it themselves: images stand as `{"type": "image"}`.

        Args:
            num_slices: S.
            query: the user's text; it is neutralised.

        Raises:
            ValueError: as `tail_ids`.
        """
        return self._chat(num_slices, self._asked(query)[0])

    def completion_ids(self, completion: str) -> list[int]:
        """Token ids of a completion, with the end-of-turn token behind it."""
        return self.tokenizer(completion, add_special_tokens=False).input_ids + [self.end_of_turn_id]

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token by which the chat template ends the assistant's turn; the tokenizer's end if there is none."""
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        _, _, behind = self.tokenizer.apply_chat_template(messages, tokenize=False).rpartition(_MARK)
        ids = self.tokenizer(behind, add_special_tokens=False).input_ids
        return ids[0] if ids and ids[0] in self.tokenizer.added_tokens_decoder else self.tokenizer.eos_token_id

    def _asked(self, query: str) -> tuple[str, list[int]]:
        """The query behind "Query:", neutralised: text and token ids."""
        text = " " + neutralise(query, self._added_tokens)
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        leaked = set(ids) & set(self.tokenizer.added_tokens_decoder)
        if leaked:
            raise ValueError(f"The query {query!r} encodes to added tokens {sorted(leaked)}; take them out of it.")
        return text, ids

    def _chat(self, num_slices: int, asked: str) -> list[dict[str, Any]]:
        images = [{"type": "image"} for _ in range(num_slices)]
        return [{"role": "user", "content": message_content(self.instruction, images, asked)}]

    @cached_property
    def _added_tokens(self) -> frozenset[str]:
        return frozenset(self.tokenizer.get_added_vocab())

    @cached_property
    def _turn_ids(self) -> list[int]:
        """What makes it the assistant's turn, the same behind every query."""
        _, tail = self._rendered(num_slices=1)
        tail = OPENED_REASONING.sub("", tail)
        return self.tokenizer(tail, add_special_tokens=False).input_ids

    def _rendered(self, num_slices: int) -> tuple[str, str]:
        """The chat as text, in front of the query and behind it."""
        chat = self._chat(num_slices, _MARK)
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if text.count(_MARK) != 1 or text.count(IMAGE_PAD) != num_slices:
            raise ValueError(
                f"The chat template of {self.tokenizer.name_or_path!r} rendered {text.count(IMAGE_PAD)} images for "
                f"{num_slices} slices and {text.count(_MARK)} queries; it must render each once, as Qwen3-VL's."
            )
        prefix, tail = text.split(_MARK)
        return prefix, tail

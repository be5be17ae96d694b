"""Which tokens may come next in an answer, for any tokenizer: those whose text `answer_text` lets pass.

Text without a choice is cut into tokens by the tokenizer itself, as training does it, so a model that writes valid
answers by itself writes the same tokens here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from os.path import commonprefix
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..anchor import AnswerForm, EvidenceAnchor, format_completion
from .answer_text import NOTHING, NUMBERS, AnswerText, Written

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
# How reasoning may open, to see where the tokens of `<think>` end whatever follows.
_OPENINGS = ("The", " The", "\n", "the", " 1", "<", "</")
# Reasoning ends in time for so many boxes, or at half of the limit if that comes later.
_BOXES_BEHIND_REASONING = 4
_WIDE_BOX = (888, 888, 999, 999)
# Behind the box of a single image.
_WIDE_MARKS = '], "points_1": [1000, 1000], "points_2": [1000, 1000]}</answer>'
_LONGEST_POINT = len(" [1000, 1000]")
_WIDE_POINTS = ((888, 888), (999, 999))
_STATES_KEPT = 1024
_NUMBER = re.compile("[1-9][0-9]{0,5}")


class TokenTexts:
    """The text of each token of a tokenizer, as it stands in a completion.

    Tokens that an answer is never made of have none: special and other added tokens but the four tags, the unknown
    token, ids that the tokenizer does not know.

    Args:
        tokenizer: of any kind whose completions are its tokens' texts, one behind the other.
        vocabulary: number of tokens that the network has logits for.

    Raises:
        ValueError: a tokenizer that cannot write an answer so.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        refused = {number for number, text in added.items() if text not in _TAGS}
        refused |= {number for number in tokenizer.all_special_ids if added.get(number) not in _TAGS}
        # Behind another token: some decoders take a blank away from the first one.
        first = tokenizer("a", add_special_tokens=False).input_ids[-1:]
        numbers = [number for number in range(min(vocabulary, len(tokenizer))) if number not in refused]
        start = len(self._decoded([first])[0])
        self.of = {
            number: text[start:]
            for number, text in zip(numbers, self._decoded([[*first, number] for number in numbers]), strict=True)
            if len(text) > start
        }
        self.by_first_character: dict[str, list[int]] = defaultdict(list)
        for number, text in self.of.items():
            self.by_first_character[text[0]].append(number)
        # Some tokenizers have a token for each number; these are looked up together.
        self.numbers = np.array([number for number, text in self.of.items() if _NUMBER.fullmatch(text)], dtype=np.int64)
        self.values = np.array([int(self.of[number]) for number in self.numbers], dtype=np.int64)
        self.scales = 10 ** np.array([len(self.of[number]) for number in self.numbers], dtype=np.int64)
        self.tokens_of(format_completion(EvidenceAnchor(122, ((0, 456, 789, 1000), (1, 2, 3, 4))), "On slice 123."))

    def tokens_of(self, text: str) -> list[int]:
        """A text as the tokenizer cuts it; character by character where it changes what it cuts.

        Raises:
            ValueError: there is no token for one of its characters.
        """
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        if "".join(self.of.get(number, "") for number in ids) == text:
            return ids
        by_character = [
            [number for number in self.by_first_character[character] if self.of[number] == character]
            for character in text
        ]
        if not all(by_character):
            raise ValueError(
                f"The tokenizer of {self._tokenizer.name_or_path!r} cannot write {text!r} as its tokens' texts one "
                "behind the other; give `constrained` false for this model."
            )
        return [numbers[0] for numbers in by_character]

    def _decoded(self, sequences: list[list[int]]) -> list[str]:
        return self._tokenizer.batch_decode(sequences, skip_special_tokens=False, clean_up_tokenization_spaces=False)


class TokenChoices:
    """Which tokens an answer about S slices may go on with, so that it is valid and whole within a limit.

    Args:
        texts: of the tokens.
        end: the token behind an answer.
        num_slices: S.
        limit: tokens of the whole answer, with the end.
        form: of the answer, one of `anchor.ANSWER_FORMS`.

    Raises:
        ValueError: the limit is too small for an answer with one box.
    """

    def __init__(self, texts: TokenTexts, end: int, num_slices: int, limit: int, form: AnswerForm = "boxes") -> None:
        self.texts, self.end, self.num_slices, self.limit = texts, end, num_slices, limit
        self.answer = AnswerText(num_slices, form)
        # In characters, and so in tokens, of which each has one or more; with the end token.
        self._longest_end = len(self.answer.longest_early_end()) + 1
        behind_box = _WIDE_MARKS if form == "image" else "]" + self.answer.early_end(Written("", "next_box"))
        self._longest_box = len("1000, 1000, 1000, 1000" + behind_box) + 1
        one = self._length_with(0) + self._longest_box
        some = one + self._length_with(_BOXES_BEHIND_REASONING) - self._length_with(1)
        if limit < one:
            raise ValueError(
                f"max_new_tokens is {limit}, but with `constrained` an answer with one box takes up to {one} tokens of "
                f"this model's tokenizer; give max_new_tokens {one} or more, or `constrained` false."
            )
        self._kept_behind_reasoning = max(one, min(some, limit // 2))
        # Each state of an answer is asked for by many.
        self._following = lru_cache(_STATES_KEPT)(self._find_following)
        self._run = lru_cache(_STATES_KEPT)(self._find_run)
        self._length = lru_cache(_STATES_KEPT)(lambda text: len(texts.tokens_of(text)))

    def options(self, written: Written, left: int) -> torch.Tensor:
        """The tokens that may come next, int64 [n], with so many left to write; none: the answer has to end now."""
        following, everything = self._following(written)
        if left - 1 >= max(self._kept_behind_reasoning, self._longest_end):
            return everything
        refused = [ids for then, ids in following.items() if not self._is_enough(left - 1, written, then)]
        if not refused:
            return everything
        return everything[~torch.isin(everything, _as_tensor(refused))]

    def without_choice(self, written: Written, left: int) -> tuple[list[int], Written]:
        """The tokens that come in any case, with the end where the answer is whole, and how far it is then written."""
        tokens: list[int] = []
        while True:
            if written == self._whole:
                return [*tokens, self.end], written
            run, then = self._run(written)
            if run and left - len(run) > self._length(self.answer.early_end(then)):
                tokens += run
                left, written = left - len(run), then
            elif len(self.options(written, left)) == 0:
                return [*tokens, *self.texts.tokens_of(self.answer.early_end(written)), self.end], self._whole
            else:
                return tokens, written

    # Inside -------------------------------------------------------------------------------------------------------

    _whole = Written("", "end")

    def _length_with(self, boxes: int) -> int:
        """Tokens of an answer without reasoning, with room for so many boxes; an answer about an image has one."""
        form = self.answer.form
        boxes = 1 if form == "image" else boxes
        points = () if form == "boxes" else (_WIDE_POINTS,) * boxes
        widest = EvidenceAnchor(self.num_slices - 1, (_WIDE_BOX,) * boxes, points)
        return len(self.texts.tokens_of(format_completion(widest, form=form))) + 1

    def _is_enough(self, left: int, written: Written, then: Written) -> bool:
        """Whether an answer can be ended with so many tokens left; a box or point is begun only with room for it."""
        if not then.fixed and then.place in ("think", "behind_less_than"):
            return left >= self._kept_behind_reasoning
        if then.place == "coordinate" and self.answer.form == "image":
            return True  # there was room for the points when the box was begun
        if then.place == "coordinate":
            behind = then._replace(fixed="", place="next_point", digits="", box=())
            is_begun = (written.place, written.points, written.marked) == ("coordinate", then.points, then.marked)
            return is_begun or left > _LONGEST_POINT + self._length(self.answer.early_end(behind))
        if then.place == "number":
            return left >= self._longest_box or (written.place, written.boxes) == ("number", then.boxes)
        return left > self._length(self.answer.early_end(then))

    def _find_following(self, written: Written) -> tuple[dict[Written, list[int]], torch.Tensor]:
        """All tokens that may come; and those of them that do not just go on with a number, by where they lead."""
        texts, ids = self.texts, np.empty(0, dtype=np.int64)
        choices = self.answer.choices(written)
        if choices is None:
            candidates: Iterable[int] = texts.of
        else:
            candidates = chain.from_iterable(texts.by_first_character.get(one, ()) for one in choices)
        if written.place in NUMBERS and not written.fixed:
            ids = self._numbers(written)
            candidates = set(candidates).difference(texts.numbers.tolist())
        following: dict[Written, list[int]] = defaultdict(list)
        for number in candidates:
            then = self.answer.after(written, texts.of[number])
            if then is not None:
                following[then].append(number)
        return following, torch.cat([torch.from_numpy(ids), _as_tensor(following.values())]).sort().values

    def _numbers(self, written: Written) -> np.ndarray:
        """The tokens of digits alone that go on with a number, int64 [n]."""
        if written.digits == "0":
            return self.texts.numbers[:0]
        beginnings = int(written.digits or 0) * self.texts.scales + self.texts.values
        return self.texts.numbers[self.answer.begins_number(written, beginnings)]

    def _find_run(self, written: Written) -> tuple[list[int], Written]:
        """The tokens of the text without a choice that are the same whatever follows it, and how far they reach."""
        text = self.answer.without_choice(written)
        if not text:
            return [], written
        behind = self.answer.after(written, text)
        choices = self.answer.choices(behind)
        if choices is None:
            ends = _OPENINGS
        else:
            ends = [one + self.answer.early_end(self.answer.after(behind, one)) for one in choices] or [""]
        run = commonprefix([self.texts.tokens_of(text + end) for end in ends])
        while run and not text.startswith(self._text(run)):  # what reaches beyond the text is a choice
            run = run[:-1]
        return run, self.answer.after(written, self._text(run))

    def _text(self, tokens: list[int]) -> str:
        return "".join(self.texts.of[number] for number in tokens)


def _as_tensor(ids: Iterable[Iterable[int]]) -> torch.Tensor:
    return torch.tensor(sorted(chain.from_iterable(ids)), dtype=torch.long)


class ConstrainedAnswer:
    """An answer while it is written.

    Args:
        choices: of its volume.

    `ids` are its tokens so far; those that come without a choice are among them from the start.
    """

    def __init__(self, choices: TokenChoices) -> None:
        self._choices = choices
        self.ids, self._written = choices.without_choice(NOTHING, choices.limit)

    @property
    def is_whole(self) -> bool:
        """Whether the end token is written."""
        return self.ids[-1] == self._choices.end

    def options(self) -> torch.Tensor:
        """The tokens that may come next, int64 [n], at least one; the same tensor where nothing has changed."""
        return self._choices.options(self._written, self._choices.limit - len(self.ids))

    def take(self, token: int) -> list[int]:
        """Writes one of the options, and what follows it without a choice; these tokens."""
        self._written = self._choices.answer.after(self._written, self._choices.texts.of[token])
        self.ids.append(token)
        run, self._written = self._choices.without_choice(self._written, self._choices.limit - len(self.ids))
        self.ids += run
        return [token, *run]

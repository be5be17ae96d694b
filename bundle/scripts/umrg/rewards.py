"""Rewards of a box and two points on a single image, by TRL's contract (see `rewards`), and MedReasoner's sets of them.

An answer has the form "image" (`anchor.ANSWER_FORMS`); the true marks are those of its mask, see `marks.true_marks`.
What does not parse (NaN, an inverted box, a point outside of the image, ...) earns 0 on all but the format.

A set is a `CompositeReward`, so that R_s, R_c or any other term can join it. In each of them

- an answer that states the true marks behind some reasoning earns the most there is;
- an answer earns at most a quarter of that if its box does not touch the true one, and its points mark a disc that does
  not touch the true one (in `binary`: lie outside the true box).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..anchor import AnswerForm, EvidenceAnchor, ParseFailure, split_think
from ..rewards import CompositeReward, FormatReward, Reward, completion_text, read_answers
from .marks import Marks, predicted_marks, true_marks
from .measures import (
    box_alignment,
    box_iou,
    box_scale,
    concave,
    point_alignment,
    point_angle,
    point_dice,
    point_distance,
    points_inside,
    validity,
)

FORM: AnswerForm = "image"
Measure = Callable[[Marks, Marks], float]

# What the answer of a completion that does not parse is worth; the other reasons are those of a wrong box or point.
_BROKEN = ("not_text", "missing_tag", "repeated_tag", "wrong_order", "text_outside_tags")
_NOT_JSON, _NO_KEYS, _WRONG_MARK = 0.2, 0.4, 0.6
_EMPTY_THINK = 0.2
# Binary, after Seg-Zero, whose images have 840 pixels: 10 and 100 of them.
_EDGES_WITHIN, _POINTS_WITHIN = 10.0, 100.0


class GradedFormatReward:
    """Format by degrees: the mean of what the reasoning and the answer are worth.

    Reasoning: 0 without exactly one think block, 0.2 for an empty one, else 1. Answer: 0 where the blocks are not as
    they should be, 0.2 where the answer is not JSON (NaN is not), 0.4 where its keys are not those asked for, 0.6 where
    the box or a point is not legal, else 1.

    >>> mask = np.ones((1, 10, 10), dtype=bool)
    >>> good = '{"bbox": [0, 0, 999, 999], "points_1": [250, 250], "points_2": [750, 750]}'
    >>> said = ("It is large.", good), ("", good), ("It is large.", good.replace("999, 999", "NaN, 999")), ("", "{}")
    >>> texts = [f"<think>{think}</think><answer>{answer}</answer>" for think, answer in said]
    >>> [round(value, 6) for value in GradedFormatReward()(completions=[*texts, "no"], masks=[mask] * 5)]
    [1.0, 0.6, 0.6, 0.3, 0.0]
    """

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        answers = read_answers(completions, masks, FORM)
        return [
            (_think_grade(completion_text(completion)) + _answer_grade(answer)) / 2
            for completion, (answer, _) in zip(completions, answers, strict=True)
        ]


class AccuracyReward:
    """What a measure says of the predicted and the true marks; 0 for what does not parse, or without a target.

    >>> mask = np.zeros((1, 10, 10), dtype=bool)
    >>> mask[0, 0:4, 0:4] = True
    >>> answer = '{"bbox": [0, 0, 400, 200], "points_1": [50, 50], "points_2": [350, 350]}'
    >>> text = f"<think></think><answer>{answer}</answer>"
    >>> AccuracyReward(box_iou)(completions=[text, "no"], masks=[mask, mask])  # half of the box
    [0.5, 0.0]

    Args:
        measure: of predicted and true marks, in 0..1; see `measures`.
    """

    def __init__(self, measure: Measure) -> None:
        self.measure = measure

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        cases = read_answers(completions, masks, FORM)
        # Completions of one query have the same mask; `cases` holds them to the end, so an id names one of them.
        known = {id(mask): mask[0] for _, mask in cases}
        marks = {name: true_marks(mask) for name, mask in known.items()}
        return [self._value(answer, marks[id(mask)]) for answer, mask in cases]

    def _value(self, answer: EvidenceAnchor | ParseFailure, true: Marks | None) -> float:
        if isinstance(answer, ParseFailure) or true is None:
            return 0.0
        return self.measure(predicted_marks(answer), true)


def reward_set(
    name: str,
    extra_terms: Mapping[str, Reward] | None = None,
    extra_weights: Mapping[str, float] | None = None,
) -> CompositeReward:
    """One of the sets, with the terms of others.

    Args:
        name: "soft" (format, box IoU, pDice; at most 4), "hard" (also how near and how alike boxes and points are; at
            most 8) or "binary" (format and three thresholds, after Seg-Zero; at most 4).
        extra_terms: further rewards by name, values in 0..1, for example R_s, or R_c as the Dice of the mask.
        extra_weights: theirs.

    Raises:
        ValueError: an unknown name, a term of the set's own names, or terms and weights that do not agree.
    """
    if name not in get_args(SetName):
        raise ValueError(f"reward_set is {name!r}; {', '.join(get_args(SetName))} are legal (config key `reward_set`)")
    own = _SETS[name]
    taken = sorted(own.keys() & (extra_terms or {}).keys())
    if taken:
        raise ValueError(f"the set {name!r} has terms of the names {taken} already; give the further ones other names")
    terms = {term: reward for term, (reward, _) in own.items()} | dict(extra_terms or {})
    weights = {term: weight for term, (_, weight) in own.items()} | dict(extra_weights or {})
    return CompositeReward(terms, weights)


def _valid(measure: Measure) -> Reward:
    """The measure, less where the marks cannot be those of the object."""
    return AccuracyReward(lambda predicted, true: measure(predicted, true) * validity(predicted, true))


def _near(alignment: Measure, overlap: Measure) -> Reward:
    """How near something is; without any overlap at most half."""
    return _valid(lambda predicted, true: alignment(predicted, true) * (1 if overlap(predicted, true) > 0 else 0.5))


def _alike(likeness: Measure, alignment: Measure, overlap: Measure) -> Reward:
    """How alike something is, as far as it is near: the right size at the wrong place is worth nothing."""
    return _valid(
        lambda predicted, true: (
            likeness(predicted, true) * alignment(predicted, true) if overlap(predicted, true) > 0 else 0.0
        )
    )


def _concave(measure: Measure) -> Measure:
    return lambda predicted, true: concave(measure(predicted, true))


def _is_box_met(predicted: Marks, true: Marks) -> float:
    return float(box_iou(predicted, true) > 0.5)


def _are_edges_met(predicted: Marks, true: Marks) -> float:
    error = np.abs(predicted.box - true.box).mean()
    return float(error < _EDGES_WITHIN and box_iou(predicted, true) > 0)


def _are_points_met(predicted: Marks, true: Marks) -> float:
    return float(point_distance(predicted, true) < _POINTS_WITHIN and points_inside(predicted, true))


SetName = Literal["soft", "hard", "binary"]
_OVERLAPS: dict[str, tuple[Reward, float]] = {
    "box_iou": (_valid(_concave(box_iou)), 1.5),
    "point_dice": (_valid(_concave(point_dice)), 1.5),
}
# Terms and their weights. The format is an eighth or a quarter of the whole, never more.
_SETS: dict[str, dict[str, tuple[Reward, float]]] = {
    "soft": {"format": (GradedFormatReward(), 1.0), **_OVERLAPS},
    "hard": {
        "format": (GradedFormatReward(), 1.0),
        **_OVERLAPS,
        "box_alignment": (_near(box_alignment, box_iou), 1.0),
        "box_scale": (_alike(box_scale, box_alignment, box_iou), 1.0),
        "point_alignment": (_near(point_alignment, point_dice), 1.0),
        "point_angle": (_alike(_concave(point_angle), point_alignment, point_dice), 1.0),
    },
    "binary": {
        "format": (FormatReward(FORM), 1.0),
        "box_iou": (AccuracyReward(_is_box_met), 1.0),
        "box_edges": (AccuracyReward(_are_edges_met), 1.0),
        "points": (AccuracyReward(_are_points_met), 1.0),
    },
}


def _think_grade(text: Any) -> float:
    if not isinstance(text, str) or text.count("<think>") != 1 or text.count("</think>") != 1:
        return 0.0
    if text.index("</think>") < text.index("<think>"):
        return 0.0
    return 1.0 if split_think(text) else _EMPTY_THINK


def _answer_grade(answer: EvidenceAnchor | ParseFailure) -> float:
    if isinstance(answer, EvidenceAnchor):
        return 1.0
    if answer.reason in _BROKEN:
        return 0.0
    return {"invalid_json": _NOT_JSON, "wrong_schema": _NO_KEYS}.get(answer.reason, _WRONG_MARK)

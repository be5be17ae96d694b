"""What completions answer, and what is decided by whether the target is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..anchor import AnswerForm, EvidenceAnchor, ParseFailure, boxes_1000_to_px, parse_completion
from ..targets import components_to_boxes
from .contract import completion_text

Answer = EvidenceAnchor | ParseFailure


class OfAnswers:
    """A reward of what a completion answers.

    Args:
        answer_form: that the answer must have, one of `anchor.ANSWER_FORMS`.
    """

    def __init__(self, answer_form: AnswerForm = "boxes") -> None:
        self.answer_form = answer_form


def read_answers(
    completions: Sequence[Any], masks: Sequence[ArrayLike], answer_form: AnswerForm
) -> list[tuple[Answer, np.ndarray]]:
    """Each completion parsed, beside its mask as bool [S, H, W]."""
    if len(completions) != len(masks):
        raise ValueError(f"{len(completions)} completions but {len(masks)} masks; give one mask a completion.")
    cases = []
    for i, (completion, mask) in enumerate(zip(completions, masks, strict=True)):
        array = as_array(mask).astype(bool, copy=False)
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"masks[{i}] has the shape {array.shape}; give [S, H, W], none of them 0.")
        cases.append((parse_completion(completion_text(completion), len(array), answer_form), array))
    return cases


def value_of(answer: Answer, mask: np.ndarray, measure: Callable[[EvidenceAnchor, np.ndarray], float]) -> float:
    """What presence decides is decided; boxes on a present target are measured."""
    if isinstance(answer, ParseFailure):
        return 0.0
    if answer.is_absent or not mask.any():
        return float(answer.is_absent and not mask.any())
    return measure(answer, mask)


def predicted_and_true_px(anchor: EvidenceAnchor, mask: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
    """The boxes of an answer, and those of the components on its key slice: [N, 4] and [N*, 4] in pixels."""
    predicted = boxes_1000_to_px(anchor.boxes_xyxy_1000, *mask.shape[1:])
    return predicted, components_to_boxes(mask[anchor.key_index])


def as_array(value: ArrayLike) -> np.ndarray:
    """On the CPU, without a gradient."""
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)

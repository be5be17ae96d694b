"""R_f, R_a, R_s: what the answer itself is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..anchor import EvidenceAnchor
from ..metrics import axial_visibility, matched_box_iou
from .answers import OfAnswers, predicted_and_true_px, read_answers, value_of


class FormatReward(OfAnswers):
    """R_f: 1 if the completion is one `<think>` and one `<answer>` block and the answer parses, else 0.

    >>> mask = np.ones((3, 10, 10), dtype=bool)
    >>> text = '<think>It is large.</think><answer>{"key_slice": 2, "bbox_2d_list": [[0, 0, 999, 999]]}</answer>'
    >>> FormatReward()(completions=[text, "It is on slice 2."], masks=[mask, mask])
    [1.0, 0.0]
    """

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        answers = read_answers(completions, masks, self.answer_form)
        return [float(isinstance(answer, EvidenceAnchor)) for answer, _ in answers]


class AxialReward(OfAnswers):
    """R_a = F_k / max_t F_t: foreground of the predicted key slice over that of the slice that shows the most.

    Two pixels of foreground on slice 1, eight on slice 2: slice 1 earns 2 / 8.

    >>> mask = np.zeros((3, 10, 10), dtype=bool)
    >>> mask[0, 0, :2] = mask[1, 0, :8] = True
    >>> text = '<think></think><answer>{"key_slice": %d, "bbox_2d_list": [[0, 0, 200, 100]]}</answer>'
    >>> AxialReward()(completions=[text % 1, text % 2, text % 3], masks=[mask] * 3)
    [0.25, 1.0, 0.0]
    """

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        answers = read_answers(completions, masks, self.answer_form)
        return [value_of(answer, mask, _visibility) for answer, mask in answers]


class SpatialReward(OfAnswers):
    """R_s: sum of the IoUs of matched boxes over max(N, N*), against the true boxes of the *predicted* key slice.

    The matching is Hungarian on `1 - IoU`, the true boxes are the connected components of the slice
    (`targets.components_to_boxes`), so missing and spurious boxes both cost. Half of the true box earns 0.5; the true
    box and another one earn (1 + 0) / 2. Points beside a box change nothing here; an object of points alone is one
    without an overlap.

    >>> mask = np.zeros((3, 10, 10), dtype=bool)
    >>> mask[1, 0:4, 0:4] = True
    >>> text = '<think></think><answer>{"key_slice": 2, "bbox_2d_list": %s}</answer>'
    >>> boxes = [[[0, 0, 400, 400]], [[0, 0, 400, 200]], [[0, 0, 400, 400], [500, 500, 900, 900]]]
    >>> rewards = SpatialReward()(completions=[text % box for box in boxes], masks=[mask] * 3)
    >>> [round(reward, 6) for reward in rewards]
    [1.0, 0.5, 0.5]
    """

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        return [value_of(answer, mask, _box_iou) for answer, mask in read_answers(completions, masks, self.answer_form)]


def _visibility(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
    return axial_visibility(mask, anchor.key_index)


def _box_iou(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
    return matched_box_iou(*predicted_and_true_px(anchor, mask))

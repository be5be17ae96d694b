"""R_c: what propagates from the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..anchor import AnswerForm, EvidenceAnchor, ParseFailure, points_1000_to_px
from ..metrics import dice, match_boxes
from ..propagation import SlicePropagator
from ..slice_prompt import SlicePrompt, prompt_of
from .answers import Answer, OfAnswers, as_array, predicted_and_true_px, read_answers, value_of


class ConsistencyReward(OfAnswers):
    """R_c: Dice of what the matched boxes propagate to, on the key slice and `delta` slices to each side.

    Only boxes that the Hungarian matching joins to a true box of the predicted key slice *with overlap* are prompts: a
    pair of IoU 0 is the matching's remainder, not evidence. Their points go with them. An object of points alone is a
    prompt if one of its points lies on the target. Without any prompt the reward is 0, hence also when the key slice
    holds no target. The propagator walks the window only.

    Within one call, features are computed once for each volume (the same object in `slices`) and a propagation is made
    once for each volume, key slice and set of objects; nothing is kept between calls.

    A propagator that repeats the box on every slice of its window, a target of four slices of which the window of
    delta = 1 around slice 2 sees slices 1 to 3, two of them with target: 2 * (4 + 4) / (3 * 4 + 2 * 4) = 0.8.

    >>> class Repeat:
    ...     def encode(self, slices):
    ...         return slices
    ...     def mask(self, slices, key_index, boxes_xyxy_px, window):
    ...         out = np.zeros(slices.shape, dtype=bool)
    ...         for x1, y1, x2, y2 in boxes_xyxy_px.astype(int):
    ...             out[max(0, key_index - window) : key_index + window + 1, y1:y2, x1:x2] = True
    ...         return out
    >>> slices = np.zeros((6, 10, 10), dtype=np.float32)
    >>> mask = np.zeros((6, 10, 10), dtype=bool)
    >>> mask[1:5, 0:2, 0:2] = True
    >>> text = '<think></think><answer>{"key_slice": 2, "bbox_2d_list": [[0, 0, 200, 200]]}</answer>'
    >>> rewards = ConsistencyReward(propagator=Repeat(), delta=1)(completions=[text], masks=[mask], slices=[slices])
    >>> [round(reward, 6) for reward in rewards]
    [0.8]

    Args:
        propagator: MedSAM2, frozen. Anything with its `encode` and `mask` will do; with `masks` all anchors of a volume
            go in one batch. Points are given to it only where an answer has some.
        delta: slices to each side of the key slice; the paper's is 5.
        answer_form: of the answer.

    Raises:
        ValueError: delta is not a whole number of at least 0; in a call, as for the other rewards, and slices and mask
            of a completion of different shapes.
    """

    def __init__(self, propagator: SlicePropagator, delta: int = 5, answer_form: AnswerForm = "boxes") -> None:
        if not isinstance(delta, int) or isinstance(delta, bool) or delta < 0:
            raise ValueError(f"delta is {delta!r}; give the slices to each side of the key slice, 0 or more.")
        super().__init__(answer_form)
        self.propagator, self.delta = propagator, delta

    def __call__(
        self, completions: Sequence[Any], masks: Sequence[ArrayLike], slices: Sequence[ArrayLike], **columns: Any
    ) -> list[float]:
        cases = read_answers(completions, masks, self.answer_form)
        # Held to the end of the call: an id names an object only as long as it lives, and the rows of a stacked array
        # are made anew at each look.
        volumes = list(slices)
        _check_volumes(volumes, cases)
        members: dict[int, list[int]] = {}
        for i, volume in enumerate(volumes):
            members.setdefault(id(volume), []).append(i)
        rewards = [0.0] * len(cases)
        for indices in members.values():
            values = self._of_one_volume(volumes[indices[0]], [cases[i] for i in indices])
            for i, value in zip(indices, values, strict=True):
                rewards[i] = value
        return rewards

    def _of_one_volume(self, volume: ArrayLike, cases: Sequence[tuple[Answer, np.ndarray]]) -> list[float]:
        # dict.fromkeys: each once, in their order.
        prompts = dict.fromkeys(prompt for answer, mask in cases if (prompt := _prompt(answer, mask)))
        features = self.propagator.encode(volume)
        if hasattr(self.propagator, "masks"):
            propagated = self.propagator.masks(features, [prompt.arguments for prompt in prompts], window=self.delta)
        else:
            propagated = [self._mask(features, *prompt.arguments) for prompt in prompts]
        predicted = dict(zip(prompts, map(as_array, propagated), strict=True))

        def window_dice(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
            prompt = _prompt(anchor, mask)
            if prompt is None:
                return 0.0
            window = slice(max(0, anchor.key_index - self.delta), anchor.key_index + self.delta + 1)
            return dice(predicted[prompt][window], mask[window])

        return [value_of(answer, mask, window_dice) for answer, mask in cases]

    def _mask(self, features: Any, key_index: int, boxes: np.ndarray, points: Sequence[ArrayLike] = ()) -> ArrayLike:
        pointed = {"points_xy_px": points} if points else {}
        return self.propagator.mask(features, key_index, boxes, window=self.delta, **pointed)


def _prompt(answer: Answer, mask: np.ndarray) -> SlicePrompt | None:
    """What to propagate from: the objects that are on the target, sorted, each once; None without any.

    Those are the boxes that are matched with overlap, and points without a box of which one lies on the target.
    """
    if isinstance(answer, ParseFailure):
        return None
    key_index, boxes, points = answer.key_index, answer.boxes_xyxy_1000, answer.points_xy_1000
    if not boxes:
        kept = sorted({own for own in points if _on_target(own, mask[key_index])})
        return prompt_of(EvidenceAnchor(key_index, (), tuple(kept)), *mask.shape[1:])
    # Sorted before the matching as well: of two boxes with the same IoU it takes the first.
    objects = sorted(zip(boxes, points or [()] * len(boxes), strict=True))
    anchor = EvidenceAnchor(key_index, tuple(box for box, _ in objects))
    pred_index, _, ious = match_boxes(*predicted_and_true_px(anchor, mask))
    kept = sorted({objects[i] for i in pred_index[ious > 0]})
    anchor = EvidenceAnchor(key_index, tuple(box for box, _ in kept), tuple(own for _, own in kept))
    return prompt_of(anchor, *mask.shape[1:])


def _on_target(points_xy_1000: Sequence[Sequence[int]], mask: np.ndarray) -> bool:
    """Whether one of the points lies on a pixel of a mask [H, W]; those on its far edges are on the last one."""
    x, y = points_1000_to_px(points_xy_1000, *mask.shape).astype(int).T
    return bool(mask[y.clip(max=mask.shape[0] - 1), x.clip(max=mask.shape[1] - 1)].any())


def _check_volumes(volumes: Sequence[ArrayLike], cases: Sequence[tuple[Answer, np.ndarray]]) -> None:
    if len(volumes) != len(cases):
        raise ValueError(f"{len(cases)} completions but {len(volumes)} slices; give the slices of each completion.")
    for i, (volume, (_, mask)) in enumerate(zip(volumes, cases, strict=True)):
        shape = tuple(np.shape(volume))
        if len(shape) not in (3, 4) or (shape[0], *shape[-2:]) != mask.shape:
            raise ValueError(f"slices[{i}] has the shape {shape}, masks[{i}] {mask.shape}; they must agree in S, H, W.")

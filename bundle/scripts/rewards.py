"""Rewards of stage 2 (paper, Sec. 2.5): R_f, R_a, R_s, R_c and their weighted sum.

All follow TRL's contract, `reward(completions=[...], masks=[...], slices=[...], **columns) -> list[float]`: one value
for each completion, columns that a reward does not read are ignored, and a completion is a text or TRL's list of one
message `[{"role": "assistant", "content": text}]`. Any function of that contract is a reward, alone or as a term of the
sum; None instead of a value says that it does not apply to a completion.

- `masks`: for each completion the target on the shown slices, [S, H, W], nonzero is foreground.
- `slices`: for each completion the shown slices, [S, H, W] or [S, 3, H, W], float in 0..1. Completions of one volume
  should hold the same object: that is how its features are computed once.

A completion that does not parse earns 0 everywhere; `answer_form` of a reward says which form it must have, see
`anchor.ANSWER_FORMS`. Whether the target is there at all comes first: neither boxes nor points say "not present". On an
absent target (empty mask, as also when the target lies between the shown slices) that earns 1 on R_a, R_s and R_c, and
boxes or points earn 0; on a present target it earns 0. No term has a smoothing floor, and no exception becomes a 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from .anchor import AnswerForm, EvidenceAnchor, ParseFailure, boxes_1000_to_px, parse_completion, points_1000_to_px
from .metrics import axial_visibility, dice, match_boxes, matched_box_iou
from .propagation import SlicePropagator
from .slice_prompt import SlicePrompt, prompt_of
from .targets import components_to_boxes

Answer = EvidenceAnchor | ParseFailure
Reward = Callable[..., Sequence[float | None]]


class _OfAnswers:
    """A reward of what a completion answers.

    Args:
        answer_form: that the answer must have, one of `anchor.ANSWER_FORMS`.
    """

    def __init__(self, answer_form: AnswerForm = "boxes") -> None:
        self.answer_form = answer_form


class FormatReward(_OfAnswers):
    """R_f: 1 if the completion is one `<think>` and one `<answer>` block and the answer parses, else 0.

    >>> mask = np.ones((3, 10, 10), dtype=bool)
    >>> text = '<think>It is large.</think><answer>{"key_slice": 2, "bbox_2d_list": [[0, 0, 999, 999]]}</answer>'
    >>> FormatReward()(completions=[text, "It is on slice 2."], masks=[mask, mask])
    [1.0, 0.0]
    """

    def __call__(self, completions: Sequence[Any], masks: Sequence[ArrayLike], **columns: Any) -> list[float]:
        answers = read_answers(completions, masks, self.answer_form)
        return [float(isinstance(answer, EvidenceAnchor)) for answer, _ in answers]


class AxialReward(_OfAnswers):
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
        return [_value(answer, mask, _visibility) for answer, mask in answers]


class SpatialReward(_OfAnswers):
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
        return [_value(answer, mask, _box_iou) for answer, mask in read_answers(completions, masks, self.answer_form)]


class ConsistencyReward(_OfAnswers):
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
        predicted = dict(zip(prompts, map(_array, propagated), strict=True))

        def window_dice(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
            prompt = _prompt(anchor, mask)
            if prompt is None:
                return 0.0
            window = slice(max(0, anchor.key_index - self.delta), anchor.key_index + self.delta + 1)
            return dice(predicted[prompt][window], mask[window])

        return [_value(answer, mask, window_dice) for answer, mask in cases]

    def _mask(self, features: Any, key_index: int, boxes: np.ndarray, points: Sequence[ArrayLike] = ()) -> ArrayLike:
        pointed = {"points_xy_px": points} if points else {}
        return self.propagator.mask(features, key_index, boxes, window=self.delta, **pointed)


@dataclass(frozen=True)
class RewardRecord:
    """What a reward gave, with what it is made of.

    Args:
        totals: what is optimised, one a completion; None where nothing applies.
        terms: the values of each term, unweighted, in the order of the completions; None where it does not apply.
        best: the largest possible total, None where that is not known.
    """

    totals: list[float | None]
    terms: dict[str, list[float | None]]
    best: float | None


def record_of(reward: Reward, completions: Sequence[Any], **columns: Any) -> RewardRecord:
    """What any reward gives: with its terms if it has such, else its values alone.

    >>> record_of(lambda completions, **columns: [float(len(text)) for text in completions], ["a", "bcd"])
    RewardRecord(totals=[1.0, 3.0], terms={}, best=None)

    Args:
        reward: of TRL's contract; what also has the method `record` says its terms.
        completions: see above.
        columns: see above.

    Raises:
        ValueError: a value that is not a finite number, or not one value for each completion.
    """
    if hasattr(reward, "record"):
        return reward.record(completions=completions, **columns)
    name = getattr(reward, "__name__", type(reward).__name__)
    values = reward(completions=completions, **columns)
    return RewardRecord(totals=_checked(name, values, len(completions)), terms={}, best=None)


class CompositeReward:
    """R_total: the weighted sum of the terms (the paper's has R_f, R_a, R_s and R_c, each of weight 1).

    A term that gives None for a completion is left out of its sum, as in TRL; where all do, so does the sum.

    >>> mask = np.zeros((3, 10, 10), dtype=bool)
    >>> mask[0, 0, :2] = mask[1, 0, :8] = True
    >>> reward = CompositeReward(terms={"R_f": FormatReward(), "R_a": AxialReward()}, weights={"R_f": 1.0, "R_a": 2.0})
    >>> text = '<think></think><answer>{"key_slice": 1, "bbox_2d_list": [[0, 0, 200, 100]]}</answer>'
    >>> reward(completions=[text, "no idea"], masks=[mask, mask])  # 1 * 1 + 2 * 2 / 8, and 0
    [1.5, 0.0]
    >>> record = reward.record(completions=[text, "no idea"], masks=[mask, mask])
    >>> record.terms["R_a"], record.best
    ([0.25, 0.0], 3.0)

    Args:
        terms: rewards by name, values in 0..1.
        weights: one for each name, 0 or more. A term of weight 0 is computed and logged; leave it out of both to save
            its time.

    Raises:
        ValueError: names differ, a negative or infinite weight, or none above 0; in a call, a term whose value is
            not a finite number or that does not give one value for each completion.
    """

    def __init__(self, terms: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        if set(terms) != set(weights):
            raise ValueError(f"`terms` has {sorted(terms)}, `weights` has {sorted(weights)}; give one weight a term.")
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()) or not any(weights.values()):
            raise ValueError(f"`weights` is {dict(weights)}; give finite numbers >= 0, one of them above 0.")
        self.terms, self.weights = dict(terms), dict(weights)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return self.record(completions, **columns).totals

    def record(self, completions: Sequence[Any], **columns: Any) -> RewardRecord:
        """The weighted sums and what they are made of; their best is the sum of the weights, as each term ends at 1."""
        values = {
            name: _checked(name, term(completions=completions, **columns), len(completions))
            for name, term in self.terms.items()
        }
        totals = [self._total(dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]
        return RewardRecord(totals=totals, terms=values, best=sum(self.weights.values()))

    def _total(self, values: Mapping[str, float | None]) -> float | None:
        weighted = [self.weights[name] * value for name, value in values.items() if value is not None]
        return sum(weighted) if weighted else None


def _value(answer: Answer, mask: np.ndarray, measure: Callable[[EvidenceAnchor, np.ndarray], float]) -> float:
    """What presence decides is decided; boxes on a present target are measured."""
    if isinstance(answer, ParseFailure):
        return 0.0
    if answer.is_absent or not mask.any():
        return float(answer.is_absent and not mask.any())
    return measure(answer, mask)


def _visibility(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
    return axial_visibility(mask, anchor.key_index)


def _box_iou(anchor: EvidenceAnchor, mask: np.ndarray) -> float:
    return matched_box_iou(*_predicted_and_true_px(anchor, mask))


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
    pred_index, _, ious = match_boxes(*_predicted_and_true_px(anchor, mask))
    kept = sorted({objects[i] for i in pred_index[ious > 0]})
    anchor = EvidenceAnchor(key_index, tuple(box for box, _ in kept), tuple(own for _, own in kept))
    return prompt_of(anchor, *mask.shape[1:])


def _on_target(points_xy_1000: Sequence[Sequence[int]], mask: np.ndarray) -> bool:
    """Whether one of the points lies on a pixel of a mask [H, W]; those on its far edges are on the last one."""
    x, y = points_1000_to_px(points_xy_1000, *mask.shape).astype(int).T
    return bool(mask[y.clip(max=mask.shape[0] - 1), x.clip(max=mask.shape[1] - 1)].any())


def _predicted_and_true_px(anchor: EvidenceAnchor, mask: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
    predicted = boxes_1000_to_px(anchor.boxes_xyxy_1000, *mask.shape[1:])
    return predicted, components_to_boxes(mask[anchor.key_index])


def read_answers(
    completions: Sequence[Any], masks: Sequence[ArrayLike], answer_form: AnswerForm
) -> list[tuple[Answer, np.ndarray]]:
    """Each completion parsed, beside its mask as bool [S, H, W]."""
    if len(completions) != len(masks):
        raise ValueError(f"{len(completions)} completions but {len(masks)} masks; give one mask a completion.")
    cases = []
    for i, (completion, mask) in enumerate(zip(completions, masks, strict=True)):
        array = _array(mask).astype(bool, copy=False)
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"masks[{i}] has the shape {array.shape}; give [S, H, W], none of them 0.")
        cases.append((parse_completion(completion_text(completion), len(array), answer_form), array))
    return cases


def _check_volumes(volumes: Sequence[ArrayLike], cases: Sequence[tuple[Answer, np.ndarray]]) -> None:
    if len(volumes) != len(cases):
        raise ValueError(f"{len(cases)} completions but {len(volumes)} slices; give the slices of each completion.")
    for i, (volume, (_, mask)) in enumerate(zip(volumes, cases, strict=True)):
        shape = tuple(np.shape(volume))
        if len(shape) not in (3, 4) or (shape[0], *shape[-2:]) != mask.shape:
            raise ValueError(f"slices[{i}] has the shape {shape}, masks[{i}] {mask.shape}; they must agree in S, H, W.")


def _checked(name: str, values: Sequence[float | None], count: int) -> list[float | None]:
    if len(values) != count:
        raise ValueError(f"The reward {name!r} gave {len(values)} values for {count} completions.")
    for i, value in enumerate(values):
        if value is not None and not math.isfinite(value):
            raise ValueError(
                f"The reward {name!r} of completion {i} is {value}; it must be a finite number, or None where it does "
                "not apply."
            )
    return [None if value is None else float(value) for value in values]


def completion_text(completion: Any) -> Any:
    """The text in TRL's list of one message, whose content may be a list of one part; the parser refuses the rest."""
    for key in ("content", "text"):
        if isinstance(completion, list) and len(completion) == 1 and isinstance(completion[0], dict):
            completion = completion[0].get(key)
    return completion


def _array(value: ArrayLike) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)

"""R_total: the weighted sum of rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .contract import Reward, RewardRecord, checked_values


class CompositeReward:
    """R_total: the weighted sum of the terms (the paper's has R_f, R_a, R_s and R_c, each of weight 1).

    A term that gives None for a completion is left out of its sum, as in TRL; where all do, so does the sum.

    >>> import numpy as np
    >>> from medvol_r1.rewards import AxialReward, FormatReward
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
            name: checked_values(name, term(completions=completions, **columns), len(completions))
            for name, term in self.terms.items()
        }
        totals = [self._total(dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]
        return RewardRecord(totals=totals, terms=values, best=sum(self.weights.values()))

    def _total(self, values: Mapping[str, float | None]) -> float | None:
        weighted = [self.weights[name] * value for name, value in values.items() if value is not None]
        return sum(weighted) if weighted else None

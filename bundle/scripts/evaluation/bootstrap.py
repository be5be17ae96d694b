"""Confidence intervals by resampling patients: the queries of one patient are not independent of each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

Combine = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ClusterBootstrap:
    """95% percentile intervals of statistics that are functions of sums over rows.

    Args:
        samples: number of resamples.
        seed: of the only source of chance; the same rows give the same interval.

    Raises:
        ValueError: fewer than 1 sample.
    """

    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"bootstrap_samples is {self.samples}; give at least 1.")

    def estimate(self, clusters: Sequence[Hashable], columns: np.ndarray, combine: Combine) -> dict[str, float | None]:
        """A statistic and its interval.

        Args:
            clusters: for each of n rows whose it is.
            columns: float [n, M], what is summed over rows.
            combine: sums [B, M] to the statistic [B]; NaN where it is undefined.

        Returns:
            `value`, `low` and `high` (None where undefined: no rows, or for the interval a single cluster), `n`.
        """
        columns = np.asarray(columns, dtype=np.float64)
        names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
        sums = np.zeros((len(names), columns.shape[1]))
        np.add.at(sums, np.array([names[name] for name in clusters], dtype=int), columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = combine(sums.sum(axis=0, keepdims=True))[0]
            low, high = None, None
            if len(names) > 1 and np.isfinite(value):
                rng = np.random.default_rng(self.seed)
                weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=self.samples)
                resampled = combine(weights @ sums)
                if np.isfinite(resampled).any():
                    low, high = (float(edge) for edge in np.nanpercentile(resampled, [2.5, 97.5]))
        return {
            "value": float(value) if np.isfinite(value) else None,
            "low": low,
            "high": high,
            "n": len(columns),
        }

    def mean(self, clusters: Sequence[Hashable], values: Sequence[float]) -> dict[str, float | None]:
        """The mean of one value a row."""
        columns = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
        return self.estimate(clusters, columns, ratio)

    def macro_mean(
        self, clusters: Sequence[Hashable], values: Sequence[float], groups: Sequence[Hashable]
    ) -> dict[str, float | None]:
        """The mean over groups of the mean in a group; a group that a resample misses is left out of that resample."""
        names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        member = np.zeros((len(groups), len(names)))
        member[np.arange(len(groups)), np.array([names[name] for name in groups], dtype=int)] = 1
        columns = np.concatenate([member * np.asarray(values, dtype=np.float64)[:, None], member], axis=1)
        return self.estimate(clusters, columns, _mean_of_ratios)


def ratio(sums: np.ndarray) -> np.ndarray:
    """First over second column of [B, 2]."""
    return sums[:, 0] / sums[:, 1]


def _mean_of_ratios(sums: np.ndarray) -> np.ndarray:
    numerators, counts = np.split(sums, 2, axis=1)
    present = counts > 0
    return np.where(present, numerators / np.where(present, counts, 1), 0).sum(axis=1) / present.sum(axis=1)

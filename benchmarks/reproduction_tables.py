"""The paper's tables in the small, from the results that runs left; nothing is trained or evaluated here.

A score of a system is the mean over all queries whose targets are there, over its seeds; its interval is a 95%
bootstrap over test volumes. A difference of two systems is taken query by query, seed by seed, and has an interval of
the same kind: it says what other volumes would show, not what other seeds would; each seed's own difference stands
beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from medvol_r1.evaluation.bootstrap import ClusterBootstrap, ratio
from medvol_r1.evaluation.tables import interval, plain, table
from medvol_r1.phantom.scan import SUBSETS

Results = Mapping[str, Mapping[str, Any]]
"""By name of the run."""

SEEDS = (0, 1, 2)
NOT_RUN = "not run yet"

_CLAIM = {"base": "base model", "cold": "SFT, 1 epoch (cold start)", "sft": "SFT, continued", "grpo": "SFT + GRPO"}
_COMPARED = (("cold", "grpo"), ("sft", "grpo"), ("cold", "sft"))
_ALL_FOUR = "delta_2"
"""The row of both ablation tables that the others are compared with."""

_TABLE_2A = {
    _ALL_FOUR: "all four rewards",
    "no_rc": "without R_c",
    "no_rs": "without R_s",
    "no_ra": "without R_a",
    "no_rf": "without R_f",
    "cold": "cold start, no RL",
    "rl_without_sft": "RL without any SFT",
}
_TABLE_2B = {f"delta_{delta}": f"Delta = {delta}" for delta in (2, 5, 10, 15)}
_GROUPS = (*SUBSETS, None)
_GROUP_NAMES = [*(f"`{subset}`" for subset in SUBSETS), "all"]


class MismatchError(ValueError):
    """Results that were not scored on the same queries."""


class Comparison:
    """Scores of systems on the same queries.

    Args:
        results: of evaluations.
        bootstrap: of the intervals.
        by: the column of the results that a volume's group stands in.
    """

    def __init__(self, results: Results, bootstrap: ClusterBootstrap, by: str = "subset") -> None:
        self.results, self.bootstrap, self.by = results, bootstrap, by

    def score(self, runs: Sequence[str], name: str, group: str | None) -> dict[str, Any]:
        """A score of a system: `value`, `low`, `high`, `n` (volumes).

        Args:
            runs: one for each seed.
            name: column of the results.
            group: None: all.
        """
        return self._estimate([self._sums(run, name, group) for run in runs])

    def difference(self, pairs: Sequence[tuple[str, str]], name: str, group: str | None) -> dict[str, Any]:
        """Second minus first of each pair of runs, one pair for each seed; as `score`.

        Raises:
            MismatchError: the two were asked different things.
        """
        differences = []
        for first, second in pairs:
            one, other = self._sums(first, name, group), self._sums(second, name, group)
            if one.keys() != other.keys() or any(one[volume][1] != other[volume][1] for volume in one):
                raise MismatchError(f"{first} and {second} were not scored on the same queries; evaluate both anew.")
            differences.append({volume: (other[volume][0] - one[volume][0], one[volume][1]) for volume in one})
        return self._estimate(differences)

    def _sums(self, run: str, name: str, group: str | None) -> dict[str, tuple[float, int]]:
        """Sum of a score and number of queries, by volume."""
        result = self.results[run]
        place = {column: number for number, column in enumerate(result["columns"])}
        return {
            row[place["volume"]]: (row[place[name]], row[place["present"]])
            for row in result["rows"]
            if group in (None, row[place[self.by]])
        }

    def _estimate(self, seeds: Sequence[Mapping[str, tuple[float, int]]]) -> dict[str, Any]:
        volumes = list(dict.fromkeys(volume for seed in seeds for volume in seed))
        sums = [np.sum([seed[volume] for seed in seeds if volume in seed], axis=0) for volume in volumes]
        return self.bootstrap.estimate(volumes, np.reshape(sums, (-1, 2)), ratio)


def all_tables(results: Results, bootstrap: ClusterBootstrap, planned: Collection[str]) -> str:
    """Markdown of everything that is planned; what is not there yet says so.

    Args:
        results: of finished runs.
        bootstrap: of the intervals.
        planned: names of all runs of the plan; a row that none of them is for is left out.
    """
    comparison = Comparison({name: one for name, one in results.items() if one["kind"] == "evaluation"}, bootstrap)
    parts = ["## Table 1: the claim"]
    for decoding in ("greedy", "sampled"):
        parts += [f"### {decoding.capitalize()} decoding", _systems(comparison, decoding)]
        parts += [f"### {decoding.capitalize()} decoding, differences", _differences(comparison, decoding)]
    if any(run in planned for system in _CLAIM for run in _runs(f"gap_{system}")):
        parts += ["## What RL can still win", _gaps(results)]
    for title, rows in {"2a: each reward left out": _TABLE_2A, "2b: the window of R_c": _TABLE_2B}.items():
        asked = {row: name for row, name in rows.items() if any(run in planned for run in _runs(f"score_{row}"))}
        parts += [f"## Table {title}", _ablation(comparison, results, asked)]
    parts += ["## Compute", _compute(results)]
    return "\n\n".join(parts) + "\n"


def _systems(comparison: Comparison, decoding: str) -> str:
    header = ["system", "seeds", *(f"{name}, DSC" for name in _GROUP_NAMES), "IoU", "R_a", "box IoU", "format rate"]
    rows = []
    bounds = f"{decoding}_base"
    if bounds in comparison.results:
        rows.append(_bound(comparison, bounds, "prior", "image-free prior"))
    for system, title in _CLAIM.items():
        if system == "base" and decoding == "sampled":
            continue
        runs = _there(comparison.results, [bounds] if system == "base" else _runs(f"{decoding}_{system}"))
        rows.append(_row(comparison, title, runs))
    if bounds in comparison.results:
        rows.append(_bound(comparison, bounds, "oracle_anchor", "oracle anchor"))
    return table(header, rows)


def _row(comparison: Comparison, title: str, runs: Sequence[str]) -> list[str]:
    if not runs:
        return [title, "0", *[NOT_RUN] * 4, *["-"] * 4]
    overlap = [interval(comparison.score(runs, "DSC", subset)) for subset in _GROUPS]
    rest = [plain(comparison.score(runs, name, None)) for name in ("IoU", "R_a", "box_iou", "format_ok")]
    return [title, str(len(runs)), *overlap, *rest]


def _bound(comparison: Comparison, run: str, bound: str, title: str) -> list[str]:
    overlap = [interval(comparison.score([run], f"{bound}_DSC", subset)) for subset in _GROUPS]
    return [title, "-", *overlap, plain(comparison.score([run], f"{bound}_IoU", None)), *["-"] * 3]


def _differences(comparison: Comparison, decoding: str) -> str:
    header = ["difference", "score", *_GROUP_NAMES, "all, each seed"]
    rows = []
    for first, second in _COMPARED:
        pairs = _pairs(comparison.results, f"{decoding}_{first}", f"{decoding}_{second}")
        title = f"{_CLAIM[second]} - {_CLAIM[first]}"
        for score in ("DSC", "IoU", "R_a", "box_iou"):
            if not pairs:
                rows.append([title, score, *[NOT_RUN] * 4, "-"])
                continue
            estimates = [interval(comparison.difference(pairs, score, subset)) for subset in _GROUPS]
            rows.append([title, score, *estimates, _each_seed(comparison, pairs, score)])
    return table(header, rows)


def _gaps(results: Results) -> str:
    """The greedy answer and the best of some sampled ones, means over queries and seeds."""
    rewards = ("R_a", "R_s", "R_c")
    header = ["system", "seeds", "samples", *(f"{name}, {of}" for name in rewards for of in ("greedy", "best"))]
    rows = []
    for system in ("cold", "sft", "grpo"):
        seeds = [results[run] for run in _there(results, _runs(f"gap_{system}"))]
        if not seeds:
            rows.append([_CLAIM[system], "0", *[NOT_RUN] * 7])
            continue
        means = [fmean(seed[of][name] for seed in seeds) for name in rewards for of in ("greedy", "best")]
        samples = ", ".join(sorted({str(seed["samples"]) for seed in seeds}))
        rows.append([_CLAIM[system], str(len(seeds)), samples, *(f"{mean:.3f}" for mean in means)])
    return table(header, rows)


def _ablation(comparison: Comparison, results: Results, titles: Mapping[str, str]) -> str:
    header = ["row", "seeds", *(f"{name}, DSC" for name in _GROUP_NAMES), "all, against all four rewards at Delta = 2"]
    header += ["each seed", "steps", "CPU minutes", "last reward"]
    rows = []
    for row, title in titles.items():
        runs = _there(comparison.results, _runs(f"score_{row}"))
        if not runs:
            rows.append([title, "0", *[NOT_RUN] * 4, *["-"] * 5])
            continue
        overlap = [interval(comparison.score(runs, "DSC", subset)) for subset in _GROUPS]
        pairs = _pairs(comparison.results, f"score_{_ALL_FOUR}", f"score_{row}") if row != _ALL_FOUR else []
        against = interval(comparison.difference(pairs, "DSC", None)) if pairs else "-"
        each = _each_seed(comparison, pairs, "DSC") if pairs else "-"
        rows.append([title, str(len(runs)), *overlap, against, each, *_effort(results, _runs(f"ablation_{row}"))])
    return table(header, rows)


def _compute(results: Results) -> str:
    names = {"vision": ["vision"], "base": ["base"], **{name: _runs(name) for name in ("cold", "sft", "grpo")}}
    titles = {"vision": "vision tower"} | _CLAIM
    rows = [
        [titles[name], str(len(_there(results, runs))), *_effort(results, runs)[:2]] for name, runs in names.items()
    ]
    return table(["training", "runs", "steps", "CPU minutes"], rows)


def _effort(results: Results, runs: Sequence[str]) -> list[str]:
    """Steps, CPU minutes of the seeds, mean total reward of the last tenth of the steps."""
    there = [results[run] for run in _there(results, runs)]
    if not there:
        return ["-", "-", "-"]
    steps = ", ".join(sorted({str(one["steps"]) for one in there}))
    minutes = " / ".join(f"{one['cpu_minutes']:.1f}" for one in there)
    curves = [one["curves"]["reward/total"] for one in there if "reward/total" in one["curves"]]
    ends = [fmean(value for _, value in curve[-max(1, len(curve) // 10) :]) for curve in curves]
    return [steps, minutes, f"{fmean(ends):.3f}" if ends else "-"]


def _runs(name: str) -> list[str]:
    return [f"{name}_{seed}" for seed in SEEDS]


def _there(results: Results, runs: Sequence[str]) -> list[str]:
    return [run for run in runs if run in results]


def _pairs(results: Results, first: str, second: str) -> list[tuple[str, str]]:
    """Runs of both systems, for the seeds that both have."""
    pairs = zip(_runs(first), _runs(second), strict=True)
    return [pair for pair in pairs if set(pair) <= results.keys()]


def _each_seed(comparison: Comparison, pairs: Sequence[tuple[str, str]], score: str) -> str:
    return " / ".join(f"{comparison.difference([pair], score, None)['value']:+.3f}" for pair in pairs)


# Curves ---------------------------------------------------------------------------------------------------------------


def draw_curves(results: Results) -> Figure:
    """Rewards of GRPO, RL with and without SFT, and validation of GRPO and continued SFT over the same compute."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 2)
    _lines(panels[0, 0], results, {"GRPO": "grpo"}, ("reward/R_f", "reward/R_a", "reward/R_s", "reward/R_c"))
    panels[0, 0].set_title("rewards of SFT + GRPO, unweighted")
    starts = {
        "from the cold start": f"ablation_{_ALL_FOUR}",
        "without any SFT": "ablation_rl_without_sft",
    }
    _lines(panels[0, 1], results, starts, ("reward/total",))
    panels[0, 1].set_title("total reward, of 4")
    for axes, score in zip(panels[1], ("R_a", "box_iou"), strict=True):
        _lines(axes, results, {"SFT, continued": "sft", "SFT + GRPO": "grpo"}, (score,), shares=True)
        axes.set_title(f"validation, greedy: {score}")
        axes.set_xlabel("share of the compute")
    return figure


def _lines(axes: Any, results: Results, systems: Mapping[str, str], tags: Sequence[str], shares: bool = False) -> None:
    """A colour for each system and tag, a line for each seed; with `shares` from its cold start on."""
    for number, (title, name, tag) in enumerate((t, n, tag) for t, n in systems.items() for tag in tags):
        label: str | None = title if len(tags) == 1 else tag.removeprefix("reward/")
        for run in _there(results, _runs(name)):
            if points := results[run]["curves"].get(tag):
                steps, values = np.array(points).T
                if shares:
                    steps, values = np.append(0, steps / steps[-1]), np.append(_start(results, run, tag), values)
                axes.plot(steps, values, color=f"C{number}", alpha=0.7, label=label)
                label = None
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    else:
        axes.text(0.5, 0.5, NOT_RUN, ha="center", transform=axes.transAxes)


def _start(results: Results, run: str, tag: str) -> float:
    """Where the cold start of a run's seed had ended; NaN, which is not drawn, when it is not there."""
    points = results.get(f"cold_{run.rpartition('_')[2]}", {}).get("curves", {}).get(tag)
    return points[-1][1] if points else float("nan")

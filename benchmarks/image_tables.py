"""Tables and curves of the experiments on single images, from the results that the runs of umrg.json left."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.figure import Figure
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.tables import interval, table
from reproduction_tables import NOT_RUN, Comparison, Results

_TESTS = {
    "test": "First attempt",
    "fresh": "Second attempt, other images",
    "seen": "Second attempt, images of the training",
}
_SYSTEMS = {
    "cold": "cold start",
    "sft": "SFT continued, 150 steps",
    "sft_longer": "SFT continued, 450 steps",
    "sft_equal": "SFT continued, as long as GRPO",
    "grpo": "GRPO",
    "grpo_long": "GRPO, longer: the model that is shipped",
}
_MEASURES = {
    "marks_iou": "box IoU",
    "point_dice": "pDice",
    "DSC": "DSC, box and points",
    "answer_box_DSC": "DSC, box alone",
    "format_ok": "format rate",
}
_BY_GROUP = ("marks_iou", "DSC")
_PANELS = {
    "reward/box_iou": "reward of the box, sampled answers",
    "reward/mask_dice": "reward of the mask, sampled answers",
    "reward/point_dice": "reward of the points, sampled answers",
    "box_iou": "box IoU of greedy answers, validation images",
}


def image_tables(results: Results, bootstrap: ClusterBootstrap, planned: Collection[str]) -> str:
    """Markdown of each attempt: scores, differences to GRPO, super-categories and modalities.

    Args:
        results: of finished runs.
        bootstrap: of the intervals, over images.
        planned: names of all runs of the plan.
    """
    parts = []
    for test, title in _TESTS.items():
        systems = [system for system in _SYSTEMS if f"{test}_{system}" in planned]
        runs = {system: f"{test}_{system}" for system in systems if f"{test}_{system}" in results}
        parts += [f"## {title}", _scores(results, Comparison(results, bootstrap), systems, runs)]
        if not runs:
            continue
        parts += ["### Differences", _differences(Comparison(results, bootstrap), runs)]
        for measure in _BY_GROUP:
            parts += [f"### {_MEASURES[measure]} by super-category and modality"]
            parts += [_groups(results, bootstrap, measure, runs)]
    return "\n\n".join(parts) + "\n"


def _scores(results: Results, comparison: Comparison, systems: Sequence[str], runs: dict[str, str]) -> str:
    rows = []
    for system in systems:
        minutes = f"{results[system]['cpu_minutes']:.1f}" if system in results else "-"
        there = system in runs
        cells = [interval(comparison.score([runs[system]], name, None)) if there else NOT_RUN for name in _MEASURES]
        rows.append([_SYSTEMS[system], minutes, *cells])
    return table(["system", "CPU minutes", *_MEASURES.values()], rows)


def _differences(comparison: Comparison, runs: dict[str, str]) -> str:
    pairs = [(first, second) for second in runs if second.startswith("grpo") for first in runs if first != second]
    rows = [
        [
            f"{_SYSTEMS[second]} - {_SYSTEMS[first]}",
            *(interval(comparison.difference([(runs[first], runs[second])], name, None)) for name in _MEASURES),
        ]
        for first, second in pairs
    ]
    return table(["difference", *_MEASURES.values()], rows)


def _groups(results: Results, bootstrap: ClusterBootstrap, measure: str, runs: dict[str, str]) -> str:
    rows = []
    for by in ("subset", "modality"):
        comparison = Comparison(results, bootstrap, by)
        one = results[next(iter(runs.values()))]
        names = [row[one["columns"].index(by)] for row in one["rows"]]
        for group in sorted(set(names)):
            scores = [interval(comparison.score([run], measure, group)) for run in runs.values()]
            rows.append([f"`{group}`", str(names.count(group)), *scores])
    return table(["images", "n", *(_SYSTEMS[system] for system in runs)], rows)


def draw_image_curves(results: Results) -> Figure:
    """What sampled answers earn over the steps of GRPO, and the boxes of greedy ones on validation images."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    for axes, (tag, title) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        for number, (system, name) in enumerate(_SYSTEMS.items()):
            points = results.get(system, {}).get("curves", {}).get(tag)
            if points and system != "cold":
                steps, values = np.array(points).T
                axes.plot(steps / steps[-1], values, color=f"C{number}", label=name)
        axes.set_title(title)
        axes.set_xlabel("share of the steps")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure

"""What several answers to a query bring: DSC against their number, and how well their agreement tells good from bad.

    python -m medvol_r1.evaluation.risk_coverage results_1 results_4 results_8 --picture risk_coverage.png

The folders are evaluations of one datalist with different `num_anchors`; the first one is what the others are compared
with. Risk is 1 - DSC, coverage the share of the queries that are answered when those with the least agreement are not.
Only targets that are there have a risk; of the others, the masks that are left (false positives) are counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .bootstrap import ClusterBootstrap
from .compare import ComparisonError, compare, read_rows
from .tables import interval, table

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)

Row = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A folder that evaluate.json wrote.

    Args:
        name: of the folder.
        settings: of the run.
        rows: of its `per_query.csv`, all values as text.
    """

    name: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def answers(self) -> int:
        """To each query."""
        return int(self.settings.get("num_anchors", 1))

    @property
    def present(self) -> list[Row]:
        """Rows whose target is there."""
        return [row for row in self.rows if row["present"] == "True"]

    @property
    def absent(self) -> list[Row]:
        """Rows whose target is not there."""
        return [row for row in self.rows if row["present"] == "False"]


def read_evaluation(folder: str | Path) -> Evaluation:
    """Reads a finished evaluation.

    Raises:
        ComparisonError: the folder holds no finished evaluation, or answers were withheld in it: only a run without
            `abstain_below` shows what a threshold would do.
    """
    rows, path = read_rows(folder), Path(folder) / "metrics.json"
    if not path.is_file():
        raise ComparisonError(f"{path} does not exist; give folders of evaluations that have finished.")
    settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
    if settings.get("abstain_below") is not None:
        raise ComparisonError(
            f"{folder} was evaluated with abstain_below {settings['abstain_below']}; evaluate without it (null), and "
            "the table shows every threshold."
        )
    return Evaluation(Path(folder).name, settings, rows)


def agreements(rows: Sequence[Row]) -> np.ndarray:
    """float64 [n]; an error agrees with nothing: 0."""
    return np.array([float(row["agreement"] or 0) for row in rows])


def risks(rows: Sequence[Row]) -> np.ndarray:
    """1 - DSC, float64 [n]."""
    return 1 - np.array([float(row["DSC"]) for row in rows])


def selective_risk(confidence: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Mean risk of the 1, 2, ..., n most confident: float64 [n]; coverage is their number over n.

    Queries of equal confidence come in any order, so each counts with the mean of their risks.

    >>> selective_risk(np.array([0.9, 0.5, 0.5, 0.1]), np.array([0.0, 0.2, 0.4, 1.0])).round(3).tolist()
    [0.0, 0.15, 0.2, 0.4]

    Args:
        confidence: [n], more is better.
        risk: [n].
    """
    _, group = np.unique(-confidence, return_inverse=True)
    means = np.bincount(group, risk) / np.bincount(group)
    return np.cumsum(means[np.sort(group)]) / np.arange(1, len(risk) + 1)


def answer_table(evaluations: Sequence[Evaluation], bootstrap: ClusterBootstrap) -> str:
    """Markdown: DSC against the number of answers."""
    header = ["answers", "chosen by", "n", "DSC, macro", "DSC, mean", "mean - first", "false positives"]
    lines = []
    for evaluation in evaluations:
        group = compare(evaluations[0].rows, evaluation.rows, bootstrap)["groups"]["all"]
        found, several = agreements(evaluation.present), evaluation.answers > 1
        positives = group.get("false_positive_rate")
        lines.append(
            [
                str(evaluation.answers),
                str(evaluation.settings.get("anchor_choice")) if several else "-",
                str(len(evaluation.present)),
                interval(group["DSC_macro"]["second"]),
                interval(group["DSC"]["second"]),
                interval(group["DSC"]["difference"]) if evaluation is not evaluations[0] else "-",
                interval(positives["second"]) if positives else "-",
                f"{found.mean():.3f}" if several else "-",
                _seconds(evaluation.rows),
            ]
        )
    return table([*header, "agreement", "seconds a query"], lines)


def _seconds(rows: Sequence[Row]) -> str:
    """The mean time of both models for a query, on the machine of the run."""
    known = [float(row["seconds"]) for row in rows if row["seconds"]]
    return f"{np.mean(known):.2f}" if known else "-"


def coverage_table(evaluations: Sequence[Evaluation]) -> str:
    """Markdown: mean DSC of the queries with the most agreement, and the areas under the risk-coverage curves."""
    header = ["answers", "chosen by", *(f"DSC at {coverage:.0%}" for coverage in COVERAGES)]
    lines = []
    for evaluation in evaluations:
        risk = risks(evaluation.present)
        curve = selective_risk(agreements(evaluation.present), risk)
        kept = [1 - curve[max(round(coverage * len(curve)), 1) - 1] for coverage in COVERAGES]
        areas = [curve.mean(), risk.mean(), selective_risk(-risk, risk).mean()]
        named = [str(evaluation.answers), str(evaluation.settings.get("anchor_choice"))]
        lines.append([*named, *(f"{value:.3f}" for value in [*kept, *areas])])
    return table([*header, "area", "area by chance", "least area"], lines)


def threshold_table(evaluation: Evaluation) -> str:
    """Markdown: what `abstain_below` would do. An answer "not there" is withheld like any other."""
    header = ["abstain_below", "answered", "DSC of the answered", "DSC, withheld as 0", "false positives"]
    agreement, score = agreements(evaluation.present), 1 - risks(evaluation.present)
    positive = np.array([float(row["pred_ml"] or 0) > 0 for row in evaluation.absent])
    lines = []
    for threshold in THRESHOLDS:
        answered = agreement >= threshold
        left = positive & (agreements(evaluation.absent) >= threshold) if len(positive) else positive
        lines.append(
            [
                f"{threshold:g}",
                f"{answered.mean():.3f}",
                f"{score[answered].mean():.3f}" if answered.any() else "-",
                f"{(score * answered).mean():.3f}",
                f"{left.mean():.3f}" if len(left) else "-",
            ]
        )
    return table(header, lines)


def draw(evaluations: Sequence[Evaluation]) -> Figure:
    """The risk-coverage curve of each, with that of the best order of the last one and of any order by chance."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for evaluation in evaluations:
        curve = selective_risk(agreements(evaluation.present), risks(evaluation.present))
        label = f"{evaluation.answers} answers, {evaluation.settings.get('anchor_choice')}"
        axes.plot(np.arange(1, len(curve) + 1) / len(curve), curve, label=label)
    risk = risks(evaluations[-1].present)
    last = f"({evaluations[-1].answers} answers)"
    axes.plot(np.arange(1, len(risk) + 1) / len(risk), selective_risk(-risk, risk), "k:", label=f"best order {last}")
    axes.axhline(risk.mean(), color="0.6", linestyle="--", label=f"by chance {last}")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="coverage: share of the queries answered", ylabel="risk: mean 1 - DSC")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def tables(evaluations: Sequence[Evaluation], bootstrap: ClusterBootstrap) -> str:
    """All tables as Markdown.

    Raises:
        ComparisonError: the evaluations are not of the same cases, or no target is there.
    """
    if not evaluations[0].present:
        raise ComparisonError("no query has a label with a target that is there, so nothing has a risk.")
    cases = [{row["case"] for row in evaluation.rows} for evaluation in evaluations]
    for evaluation, own in zip(evaluations, cases, strict=True):
        if own != cases[0]:
            raise ComparisonError(f"{evaluation.name} and {evaluations[0].name} are not of the same cases.")
    parts = [answer_table(evaluations, bootstrap)]
    several = [evaluation for evaluation in evaluations if evaluation.answers > 1]
    if several:
        parts += ["Of the queries with the most agreement, risk = 1 - DSC:", coverage_table(several)]
        last = several[-1]
        parts.append(f"`abstain_below`, with {last.answers} answers chosen by `{last.settings.get('anchor_choice')}`:")
        parts.append(threshold_table(last))
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="medvol_r1.evaluation.risk_coverage", description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="evaluations of one datalist, the first to compare with")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument("--picture", type=Path, help="PNG of the risk-coverage curves to write")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap resamples (default 1000)")
    options = parser.parse_args(arguments)
    try:
        evaluations = [read_evaluation(folder) for folder in options.folders]
        text = tables(evaluations, ClusterBootstrap(options.samples))
    except ValueError as error:
        parser.error(str(error))
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
    several = [evaluation for evaluation in evaluations if evaluation.answers > 1]
    if options.picture:
        if not several:
            parser.error("no folder has several answers (num_anchors of 2 or more), so there is no curve to draw.")
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(several).savefig(options.picture, format="png")


if __name__ == "__main__":
    main()

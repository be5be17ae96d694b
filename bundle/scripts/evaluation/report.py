"""What an evaluation leaves behind: `metrics.json`, `per_query.csv`, `summary.md` and its pictures."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from ..report.case_files import AnsweredCase, write_picture
from ..report.evidence_record import evidence_record
from ..targets import target_mask
from ..volume.geometry import SliceGeometry, restore_mask
from ..volume.io import read_volume
from .bootstrap import ClusterBootstrap
from .columns import COLUMNS
from .journal import ScoreJournal
from .statistics import statistics
from .tables import interval, summary_tables, table

_logger = logging.getLogger(__name__)

# Rows that a summary names by case; the CSV has them all.
_MOST_NAMED = 20


class EvaluationReport:
    """Writes the results of a journal.

    Args:
        journal: of the evaluation; the files go to its folder.
        volumes: see `datasets.volume_cases.read_volume_cases`; gives the order of the rows.
        preprocessing: of `{"image": path}`, for the pictures.
        bootstrap: of the intervals.
        window: lower and upper HU of the pictures.
        pictures: whether best, median and worst case of each subset are drawn.
        weights: names of the weights, for the evidence.
    """

    def __init__(
        self,
        journal: ScoreJournal,
        volumes: Sequence[Mapping[str, Any]],
        preprocessing: Callable,
        bootstrap: ClusterBootstrap,
        window: Sequence[float] = (-160.0, 240.0),
        pictures: bool = True,
        weights: Mapping[str, str | None] | None = None,
    ) -> None:
        self.journal, self.volumes, self.preprocessing = journal, volumes, preprocessing
        self.bootstrap, self.pictures, self.weights = bootstrap, pictures, dict(weights or {})
        self.window = (float(window[0]), float(window[1]))

    def write(self) -> dict[str, Any]:
        """Writes all files, prints the first table, and returns what is in `metrics.json`."""
        folder = self.journal.output_dir
        rows = self.journal.rows(self.volumes)
        metrics = {
            "settings": self.journal.settings,
            "bootstrap": {"samples": self.bootstrap.samples, "seed": self.bootstrap.seed, "clusters": "patient"},
            **statistics(rows, self.bootstrap),
        }
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_rows(rows, folder / "per_query.csv")
        for path in (folder / "pictures").glob("*.png"):
            path.unlink()  # of an earlier run
        drawn = list(self._pictures(rows)) if self.pictures else []
        (folder / "summary.md").write_text(_summary(metrics, rows, drawn), encoding="utf-8")
        present, counts = metrics["present"], metrics["counts"]
        print(
            f"{counts['queries']} queries, {counts['errors']} errors, {counts['not_parsed']} do not parse; "
            f"DSC mean {interval(present['DSC_mean'])}, macro {interval(present['DSC_macro'])}, "
            f"IoU mean {interval(present['IoU_mean'])}, macro {interval(present['IoU_macro'])}\n"
            f"written to {folder / 'summary.md'}"
        )
        return metrics

    def exit_if_all_failed(self) -> None:
        """Ends the program with a non-zero status when not one query could be answered; the tables are written.

        Raises:
            SystemExit: with a message that has the most frequent reason.
        """
        rows = self.journal.rows(self.volumes)
        if rows and all(row["error"] for row in rows):
            reason, _ = Counter(row["status"] for row in rows).most_common(1)[0]
            raise SystemExit(f"none of {len(rows)} queries could be answered: {reason} (see {self.journal.output_dir})")

    def _pictures(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Title and path, relative to the folder, of each picture that could be drawn."""
        folder = self.journal.output_dir / "pictures"
        folder.mkdir(exist_ok=True)
        present = [row for row in rows if row["present"]]
        if present:
            save_box_plot(present, folder / "dsc_by_target.png")
            yield "DSC of each target", "pictures/dsc_by_target.png"
        places = {
            entry["case"]: (volume, number, entry)
            for volume in self.volumes
            for number, entry in enumerate(volume["queries"])
        }
        for title, row in _examples(present):
            try:
                self._draw(row, *places[row["case"]], folder / f"{row['case']}.png")
            except Exception:  # the numbers are not to be lost for want of a picture
                _logger.exception("no picture of case %s", row["case"])
                continue
            yield f"{title}: {row['case']}, DSC {row['DSC']:.3f}", f"pictures/{row['case']}.png"

    def _draw(
        self, row: Mapping[str, Any], volume: Mapping[str, Any], number: int, entry: Mapping[str, Any], path: Path
    ) -> None:
        evidence, shown = self.journal.answer(volume, number)
        image = self.preprocessing({"image": volume["image"]})["image"]
        geometry = SliceGeometry.from_meta(image.meta)
        mask = restore_mask(shown, geometry)
        record = evidence_record(cast(dict, evidence), mask, image.meta, query=entry["query"], weights=self.weights)
        label, _ = read_volume(entry["label"], is_label=True)
        case = AnsweredCase(
            name=entry["case"],
            record=record,
            mask=mask,
            geometry=geometry,
            truth=target_mask(label, entry.get("label_values")),
            scores={name: row[name] for name in ("DSC", "IoU")},
            window=tuple(image.meta.get("window_limits", self.window)),
        )
        write_picture(case, path)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """CSV with the columns of `columns.COLUMNS`; None is an empty field."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def save_box_plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """PNG: a box of the DSC of each target, best median on top; whiskers reach the last case within 1.5 IQR."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(str(row["target"] or "target"), []).append(row["DSC"])
    ordered = sorted(values, key=lambda name: (np.median(values[name]), np.mean(values[name]), name))
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(ordered)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.boxplot(
        [values[name] for name in ordered],
        orientation="horizontal",
        tick_labels=[f"{name} ({len(values[name])})" for name in ordered],
        showmeans=True,
        widths=0.6,
        flierprops={"markersize": 3},
    )
    axes.set(xlim=(-0.02, 1.02), xlabel="DSC; line: median, triangle: mean, (n)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, format="png")


def _examples(present: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Best, median and worst answered row of each subset."""
    subsets = dict.fromkeys(row["subset"] for row in present)
    for subset in subsets:
        ranked = [row for row in present if row["subset"] == subset and not row["error"]]
        ranked.sort(key=lambda row: (-row["DSC"], row["case"]))
        places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
        for name, place in places.items():
            if ranked:
                yield f"{name} of `{subset}`" if subset else name, ranked[place]


def _summary(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], pictures: Sequence[tuple[str, str]]) -> str:
    counts = metrics["counts"]
    parts = [
        "# Evaluation",
        f"{counts['queries']} queries about {counts['volumes']} volumes of {counts['patients']} patients: "
        f"{counts['present']} ask for targets that are there, {counts['absent']} for targets that are not, "
        f"{counts['unlabelled']} have no label. In brackets: 95% bootstrap intervals over patients. How each number is "
        "defined: `bundle/docs/evaluation.md`.",
        table(["status", "queries"], [[name, str(count)] for name, count in counts["status"].items()]),
        *summary_tables(metrics),
    ]
    failed = [row for row in rows if row["error"] or not row["format_ok"]]
    if failed:
        named = [[row["case"], row["status"]] for row in failed[:_MOST_NAMED]]
        parts += ["## Failed queries", "They count as DSC 0.", table(["case", "why"], named)]
        if len(failed) > _MOST_NAMED:
            parts.append(f"and {len(failed) - _MOST_NAMED} more in `per_query.csv`.")
    if pictures:
        parts.append("## Pictures")
        parts += [f"{title}\n\n![{title}]({path})" for title, path in pictures]
    settings = [[name, f"`{value}`"] for name, value in metrics["settings"].items()]
    parts += ["## Settings", table(["setting", "value"], settings)]
    return "\n\n".join(parts) + "\n"

"""Scores masks of several systems on the same queries, with the metrics and statistics of the evaluation."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import Dataset

from ..datasets.volume_cases import Target
from ..errors import failure_of
from ..evaluation.bootstrap import ClusterBootstrap
from ..evaluation.columns import COLUMNS, GROUNDING
from ..evaluation.query_scores import Outcome, VolumeScorer
from ..evaluation.report import write_rows
from ..evaluation.statistics import absent_block, present_block, statistics
from ..volume.cropped_mask import CroppedMask
from ..volume.geometry import SliceGeometry
from .saved_masks import MaskPart
from .systems import System
from .tables import benchmark_report, benchmark_row

_logger = logging.getLogger(__name__)

Row = dict[str, Any]
_REFUSED = ("system", "case", "reason", "message")


class MaskBenchmark:
    """Scores systems and writes one table of them all.

    A mask that cannot be placed in space, or is not there, is refused: it counts as DSC 0 in the table of all queries,
    its reason is counted, and a second table has the queries alone that every system answered. Other systems and
    queries go on.

    Writes `<output_dir>/{benchmark.md, benchmark.json, benchmark.csv, refused.csv}`, and for each system
    `<output_dir>/<system>/per_query.csv`, which `compare_results` reads.

    Args:
        dataset: volumes with their queries and targets; its transform need not sample or resize.
        systems: at least one.
        output_dir: made when absent.
        tolerance_mm: of NSD.
        bootstrap: of the intervals.
    """

    def __init__(
        self,
        dataset: Dataset,
        systems: Sequence[System],
        output_dir: str | Path,
        tolerance_mm: float,
        bootstrap: ClusterBootstrap,
    ) -> None:
        self.dataset, self.systems, self.output_dir = dataset, list(systems), Path(output_dir)
        self.tolerance_mm, self.bootstrap = tolerance_mm, bootstrap
        self.refused: list[str] = []  # messages, if not one mask could be scored

    def run(self) -> dict[str, Any]:
        """Scores, writes, prints the tables; returns what `benchmark.json` holds."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        images = [volume["image"] for volume in self.dataset.data]
        for system in self.systems:
            system.prepare(images)
        rows: dict[str, list[Row]] = {system.name: [] for system in self.systems}
        for number in range(len(self.dataset)):
            item = self.dataset[number]
            for system in self.systems:
                rows[system.name] += self._volume_rows(item, system)
            _logger.info("volume %d of %d: %s", number + 1, len(self.dataset), item["image_path"])
        results = self._results(rows)
        self._write(rows, results)
        every = [row for name in rows for row in rows[name]]
        self.refused = [row["message"] for row in every] if all(row["error"] for row in every) else []
        return results

    def exit_if_all_failed(self) -> None:
        """Ends the program with a non-zero status when no system has a mask that can be scored; the tables are written.

        Raises:
            SystemExit: with the first of the messages.
        """
        if self.refused:
            raise SystemExit(f"none of {len(self.refused)} masks could be scored; the first: {self.refused[0]}")

    def _volume_rows(self, item: Mapping[str, Any], system: System) -> list[Row]:
        """The rows of one system about one volume."""
        geometry = SliceGeometry.from_meta(item["image"].meta) if "image" in item else None
        scorer = VolumeScorer(geometry, None, "source", self.tolerance_mm)
        placed: dict[tuple[MaskPart, ...], tuple[CroppedMask, bool]] = {}
        rows = []
        for entry, target, failure in zip(item["queries"], item["targets"], item["failures"], strict=True):
            if geometry is None:
                rows.append(_refused(scorer, entry, target, failure))
                continue
            try:
                parts = system.parts(entry)
                if parts not in placed:
                    mask, exact = system.masks.place(parts, geometry.source_shape, geometry.source_affine)
                    placed[parts] = CroppedMask.of(mask), exact
                rows.append(_scored(scorer, entry, target, *placed[parts]))
            except Exception as error:  # whatever it is, the other queries are still to be scored
                _logger.debug("%s on %s", system.name, entry["case"], exc_info=True)
                rows.append(_refused(scorer, entry, target, failure_of(error, entry["case"])))
        return rows

    def _results(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
        """Each system's statistics, and those of the queries that all of them answered."""
        # A system that answered nothing would leave nothing to compare the others on.
        asked = [name for name in rows if not all(row["error"] for row in rows[name])]
        shared = [not any(row["error"] for row in same) for same in zip(*(rows[name] for name in asked), strict=True)]
        common = {
            name: [row for row, kept in zip(rows[name], shared, strict=True) if kept and row["present"]]
            for name in asked
        }
        results = {}
        for name in rows:
            answered = [row for row in rows[name] if not row["error"]]
            block = present_block(common.get(name, []), self.bootstrap)
            pairs = list(zip(common.get(name, []), common[asked[0]] if asked else [], strict=False))
            difference = [row["DSC"] - first["DSC"] for row, first in pairs]
            block["DSC_minus_first"] = self.bootstrap.mean([first["patient"] for _, first in pairs], difference)
            results[name] = statistics(rows[name], self.bootstrap) | {
                "answered": present_block([row for row in answered if row["present"]], self.bootstrap),
                "absent_answered": absent_block([row for row in answered if row["present"] is False], self.bootstrap),
                "common": block,
                "refused": _counted(rows[name]),
                "resampled": sum(row["resampled"] for row in answered),
            }
        return {"tolerance_mm": self.tolerance_mm, "systems": results}

    def _write(self, rows: Mapping[str, Sequence[Row]], results: Mapping[str, Any]) -> None:
        for name in rows:
            (self.output_dir / name).mkdir(exist_ok=True)
            write_rows(
                [{key: row[key] for key in COLUMNS} for row in rows[name]], self.output_dir / name / "per_query.csv"
            )
        refused = [
            {"system": name, "case": row["case"], "reason": row["status"], "message": row["message"]}
            for name in rows
            for row in rows[name]
            if row["error"]
        ]
        _write_csv(self.output_dir / "refused.csv", _REFUSED, refused)
        lines = [benchmark_row(name, block) for name, block in results["systems"].items()]
        _write_csv(self.output_dir / "benchmark.csv", list(lines[0]), lines)
        text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
        (self.output_dir / "benchmark.json").write_text(text + "\n", encoding="utf-8")
        report = benchmark_report(results)
        (self.output_dir / "benchmark.md").write_text(report, encoding="utf-8")
        print(f"{report}\nWritten to {self.output_dir}.")


def _counted(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Reason -> how many queries were refused for it, and the message of the first."""
    refused: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["error"]:
            refused.setdefault(row["status"], {"n": 0, "first": row["message"]})["n"] += 1
    return refused


def _scored(scorer: VolumeScorer, entry: Mapping[str, Any], target: Any, mask: CroppedMask, exact: bool) -> Row:
    """A row without grounding: other systems have no key slice."""
    if isinstance(target, Mapping):  # the label cannot be read
        return _refused(scorer, entry, target, target)
    row = scorer.row(entry, None, Outcome({"status": "ok"}, None), ()) | {"format_ok": True}
    if isinstance(target, Target):
        row |= scorer.measured(mask, target)
        if row["present"]:
            row |= scorer.swapped(mask, target)
    return row | {"resampled": not exact, "message": None}


def _refused(scorer: VolumeScorer, entry: Mapping[str, Any], target: Any, failure: Mapping[str, str]) -> Row:
    row = scorer.row(entry, target, Outcome(None, failure), ())
    return row | dict.fromkeys(GROUNDING) | {"resampled": None, "message": failure["message"]}


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)

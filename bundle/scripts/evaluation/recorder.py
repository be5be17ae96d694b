"""The handler of evaluation that scores answers beside the models' work and keeps them."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from ..errors import failure_of
from ..report.case_writer import EvidenceRecordd, save_agreement, save_mask
from ..volume.geometry import SliceGeometry, restore_mask
from .bounds import Bounds
from .journal import ScoreJournal
from .query_scores import GRIDS, Answer, VolumeScorer

_logger = logging.getLogger(__name__)


class ScoreRecorder:
    """Scores the volumes of a `VolumeEvaluator` and appends them to a journal, in the order in which they come.

    Args:
        journal: where to.
        bounds: those of the evaluator.
        grid: see `query_scores.VolumeScorer`.
        tolerance_mm: of NSD.
        threads: volumes that are scored while the models work on the next ones; 0 scores before they go on.
        save_masks: also write `<output_dir>/cases/<case>/<case>_mask.nii.gz` and `<case>_evidence.json`. An answer with
            a map of agreement has it written there as `<case>_agreement.nii.gz` anyway.
        weights: names of the weights, for the evidence.

    Raises:
        ValueError: an unknown grid, or fewer than 0 threads.
    """

    def __init__(
        self,
        journal: ScoreJournal,
        bounds: Bounds,
        grid: str = "source",
        tolerance_mm: float = 2.0,
        threads: int = 1,
        save_masks: bool = False,
        weights: Mapping[str, str | None] | None = None,
    ) -> None:
        if grid not in GRIDS:
            raise ValueError(f"metric_grid is {grid!r}; legal are {', '.join(GRIDS)}.")
        if threads < 0:
            raise ValueError(f"scoring_threads is {threads}; give 0 or more.")
        self.journal, self.bounds, self.grid, self.tolerance_mm = journal, bounds, grid, tolerance_mm
        self.threads, self.save_masks, self.weights = threads, save_masks, dict(weights or {})
        self._pool: ThreadPoolExecutor | None = None
        self._running: deque[tuple[Mapping[str, Any], Sequence[Answer], Future]] = deque()

    def attach(self, engine: Engine) -> None:
        """Works after each iteration; everything is kept when the engine ends or stops with an error."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.record)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def record(self, engine: Engine) -> None:
        """Scores the volumes of this iteration, or begins to."""
        for item, answers in zip(engine.state.batch, engine.state.output, strict=True):
            if self._pool is None:
                self.journal.append(item, answers, self.score(item, answers))
                continue
            self._running.append((item, answers, self._pool.submit(self.score, item, answers)))
            while len(self._running) > self.threads:
                self._keep_oldest()

    def score(self, item: Mapping[str, Any], answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """The rows of a volume."""
        geometry = affine = None
        if "image" in item:
            geometry, affine = SliceGeometry.from_meta(item["image"].meta), item["image"].affine.cpu().numpy()
        scorer = VolumeScorer(geometry, affine, self.grid, self.tolerance_mm)
        rows = []
        for entry, target, answer in zip(item["queries"], item["targets"], answers, strict=True):
            try:
                row = scorer.row(entry, target, answer, self.bounds.names)
            except Exception as error:  # the other queries are still to be scored
                _logger.exception("case %s cannot be scored", entry["case"])
                row = scorer.row(entry, target, Answer(None, failure_of(error, entry["case"])), self.bounds.names)
            rows.append(row)
            folder = self.journal.output_dir / "cases" / entry["case"]
            if self.save_masks and answer.mask is not None and answer.evidence is not None:
                self._save(item, entry, answer.mask, answer.evidence, folder)
            if answer.agreement_map is not None and geometry is not None:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{entry['case']}_agreement.nii.gz"
                save_agreement(answer.agreement_map, geometry, item["image_path"], path)
        return rows

    def _open(self, engine: Engine) -> None:
        self._pool = ThreadPoolExecutor(self.threads) if self.threads else None

    def _close(self, engine: Engine) -> None:
        while self._running:
            self._keep_oldest()
        if self._pool is not None:
            self._pool.shutdown()

    def _stop(self, engine: Engine, error: BaseException) -> None:
        self._close(engine)
        raise error

    def _keep_oldest(self) -> None:
        item, answers, scored = self._running.popleft()
        self.journal.append(item, answers, scored.result())

    def _save(
        self,
        item: Mapping[str, Any],
        entry: Mapping[str, Any],
        shown: np.ndarray,
        evidence: Mapping[str, Any],
        folder: Path,
    ) -> None:
        mask = restore_mask(shown, SliceGeometry.from_meta(item["image"].meta))
        folder.mkdir(parents=True, exist_ok=True)
        save_mask(mask, item["image_path"], folder / f"{entry['case']}_mask.nii.gz")
        record = evidence_record(item["image"], entry, evidence, mask, self.weights)
        text = json.dumps(record, indent=2, ensure_ascii=False)
        Path(folder / f"{entry['case']}_evidence.json").write_text(text + "\n", encoding="utf-8")


def evidence_record(
    image: MetaTensor,
    entry: Mapping[str, Any],
    evidence: Mapping[str, Any],
    mask: np.ndarray,
    weights: Mapping[str, str | None],
) -> dict[str, Any]:
    """What `report.EvidenceRecordd` makes of a preprocessed image, an entry, its evidence and mask [X, Y, Z]."""
    pred = MetaTensor(torch.from_numpy(np.ascontiguousarray(mask))[None], meta={"evidence": json.dumps(evidence)})
    asked = MetaTensor(image.as_tensor(), meta={**image.meta, "query": entry["query"]})
    return EvidenceRecordd(weights=weights)({"pred": pred, "image": asked})["result"]

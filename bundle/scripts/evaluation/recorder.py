"""The handler of evaluation that scores answers beside the models' work and keeps them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ignite.engine import Engine, Events

from ..errors import failure_of
from ..report.case_files import AnsweredCase, write_case
from ..report.evidence_record import evidence_record
from ..volume.geometry import SliceGeometry, restore_mask
from .bounds import Bounds
from .journal import ScoreJournal
from .query_scores import GRIDS, Outcome, VolumeScorer

_logger = logging.getLogger(__name__)


class ScoreRecorder:
    """Scores the volumes of a `VolumeEvaluator` and appends them to a journal in their order.

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
        self._running: deque[tuple[Mapping[str, Any], Sequence[Outcome], Future]] = deque()

    def attach(self, engine: Engine) -> None:
        """Scores after each iteration; what is scored is kept when the engine ends, also when it ends with an error."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.record)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def record(self, engine: Engine) -> None:
        """Scores the volumes of this iteration, or begins to."""
        for item, outcomes in zip(engine.state.batch, engine.state.output, strict=True):
            if self._pool is None:
                self.journal.append(item, outcomes, self.score(item, outcomes))
                continue
            self._running.append((item, outcomes, self._pool.submit(self.score, item, outcomes)))
            while len(self._running) > self.threads:
                self._keep_oldest()

    def score(self, item: Mapping[str, Any], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
        """The rows of a volume."""
        geometry = affine = None
        if "image" in item:
            geometry, affine = SliceGeometry.from_meta(item["image"].meta), item["image"].affine.cpu().numpy()
        scorer = VolumeScorer(geometry, affine, self.grid, self.tolerance_mm)
        rows = []
        for entry, target, outcome in zip(item["queries"], item["targets"], outcomes, strict=True):
            try:
                row = scorer.row(entry, target, outcome, self.bounds.names)
            except Exception as error:  # the other queries are still to be scored
                _logger.exception("case %s cannot be scored", entry["case"])
                row = scorer.row(entry, target, Outcome(None, failure_of(error, entry["case"])), self.bounds.names)
            rows.append(row)
            self._save(item, entry, outcome)
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
        item, outcomes, scored = self._running.popleft()
        self.journal.append(item, outcomes, scored.result())

    def _save(self, item: Mapping[str, Any], entry: Mapping[str, Any], outcome: Outcome) -> None:
        """Writes the files of an answered query that are wanted."""
        wanted = {
            "mask.nii.gz": self.save_masks,
            "evidence.json": self.save_masks,
            "agreement.nii.gz": outcome.agreement_map is not None,
        }
        if outcome.mask is None or outcome.evidence is None or not any(wanted.values()):
            return
        geometry = SliceGeometry.from_meta(item["image"].meta)
        mask = restore_mask(outcome.mask, geometry)
        record = evidence_record(outcome.evidence, mask, item["image"].meta, query=entry["query"], weights=self.weights)
        case = AnsweredCase(
            name=entry["case"],
            record=record,
            mask=mask,
            geometry=geometry,
            agreement_map=outcome.agreement_map,
        )
        folder = self.journal.output_dir / "cases" / case.name
        write_case(case, folder, [ending for ending in wanted if wanted[ending]])

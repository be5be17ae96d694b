"""The run: a data set on disk becomes datalists, label maps in parts, a report and a picture."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import failure_of
from ..layouts.found_cases import Found, FoundCase, LeftOut
from .contact_sheet import write_contact_sheet
from .datalists import write_datalists
from .journal import CaseJournal
from .prepared_case import CasePreparer
from .report import Prepared, write_report
from .sides import sides_of, write_sides

_logger = logging.getLogger(__name__)


class Preparation:
    """Prepares a data set; the same command again goes on where it was stopped.

    Args:
        dataset: name of a reader.
        readers: `find_cases(folder)` by name.
        dataset_dir: the data set.
        preparer: makes a case ready.
        fractions: of the patients without an official split, by split.
        seed: of the split.
        beside: folders that were prepared before; a patient who is there stays on that side.
        num_workers: processes; 0: all in this one.

    Raises:
        ValueError: no data set, or one without a reader.
    """

    def __init__(
        self,
        dataset: str | None,
        readers: Mapping[str, Callable[[str], Found]],
        dataset_dir: str | None,
        preparer: CasePreparer,
        fractions: Mapping[str, float],
        seed: int = 0,
        beside: Sequence[str] = (),
        num_workers: int = 0,
    ) -> None:
        legal = ", ".join(readers)
        if dataset is None or dataset_dir is None:
            raise ValueError(
                f"`dataset` is {dataset!r} and `dataset_dir` {dataset_dir!r}; give one of {legal}, and its folder"
            )
        if dataset not in readers:
            raise ValueError(f"`dataset` is {dataset!r}; there are readers of {legal} (config key `readers`)")
        self.dataset = dataset
        self.dataset_dir = dataset_dir
        self.reader = readers[dataset]
        self.preparer = preparer
        self.output_dir = Path(preparer.output_dir)
        self.fractions = dict(fractions)
        self.seed = seed
        self.beside = list(beside)
        self.num_workers = num_workers
        self.num_prepared = 0

    def run(self) -> None:
        """Prepares what is not yet prepared, and writes lists, report and picture.

        Raises:
            LayoutError: the folder is not what the reader knows.
        """
        found = self.reader(self.dataset_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        records, failed = self._prepared(found.cases)
        left_out = [*found.left_out, *failed]
        split = sides_of(records, self.beside, self.fractions, self.seed)
        prepared = Prepared(self.dataset, str(self.dataset_dir), found.released, records, left_out, split)
        counts = write_datalists(records, split.of_case, self.output_dir)
        write_sides(records, split.of_case, self.output_dir)
        write_report(prepared, self.output_dir / "report.md")
        if records:
            write_contact_sheet(records, self.output_dir / "contact_sheet.png")
        self.num_prepared = len(records)
        questions = ", ".join(f"{split} {count}" for split, count in counts.items())
        print(
            f"{self.dataset}: {len(found.cases) + len(found.left_out)} cases found, {len(records)} prepared, "
            f"{len(left_out)} left out; questions: {questions}. {self.output_dir / 'report.md'}"
        )

    def exit_if_nothing(self) -> None:
        """Ends the program with status 1 if no case could be prepared."""
        if not self.num_prepared:
            sys.exit(1)

    def _prepared(self, cases: Sequence[FoundCase]) -> tuple[list[dict[str, Any]], list[LeftOut]]:
        """The records of all cases, in their order, and those that failed."""
        journal = CaseJournal(self.output_dir, self.preparer.settings())
        done = {case.case: journal.finished(case) for case in cases}
        pending = [case for case in cases if done[case.case] is None]
        if len(pending) < len(cases):
            _logger.info("%d of %d cases were prepared before", len(cases) - len(pending), len(cases))
        failures: dict[str, LeftOut] = {}
        work = partial(_prepare, self.preparer)
        with tqdm(total=len(cases), initial=len(cases) - len(pending), desc=self.dataset, unit="case") as bar:
            for case, record in self._results(work, pending):
                if "failure" in record:
                    failures[case.case] = LeftOut(**record["failure"])
                else:
                    done[case.case] = journal.keep(case, record)
                bar.update()
        records = [record for case in cases if (record := done[case.case]) is not None]
        return records, [failures[case.case] for case in cases if case.case in failures]

    def _results(
        self, work: Callable[[FoundCase], dict[str, Any]], cases: Sequence[FoundCase]
    ) -> Iterator[tuple[FoundCase, dict[str, Any]]]:
        """What comes of each case, in the order in which they are finished."""
        if self.num_workers < 1:
            yield from ((case, work(case)) for case in cases)
            return
        # Not forked: this process has threads of torch.
        pool = ProcessPoolExecutor(self.num_workers, mp_context=get_context("spawn"))
        futures = {pool.submit(work, case): case for case in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker was killed, most likely for memory; what is done is kept: run the same command again, with a "
                f"smaller `num_workers` than {self.num_workers}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(preparer: CasePreparer, case: FoundCase) -> dict[str, Any]:
    """The record of a case, or its failure."""
    try:
        return preparer(case)
    except Exception as error:  # whatever it is, the other cases are still to be done
        _logger.debug("case %s cannot be prepared", case.case, exc_info=True)
        return {"failure": failure_of(error, case.case)}

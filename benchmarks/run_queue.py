"""Carries out a plan of runs, hours long, in the background: what is finished is never done again.

Every run is a process of its own with one thread and writes to `<folder>/<run>/`. When it has ended well, what is to be
kept of it goes to `<results>/<run>.json`, a small file for the repository, and `<folder>/<run>/finished.json` says that
its folder is whole. Both together make the queue resumable: a run with a result is done, on any machine; it is carried
out again only if another run that is still to be done needs what its folder had held. A run that was ended in its midst
is started again with the same command and goes on from what it has in its folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiment_plan import Run

ROOT = Path(__file__).resolve().parents[1]

Collector = Callable[[Path], dict[str, Any]]
"""The folder of a finished run to what is kept of it, JSON types."""

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


_KILLED = "killed from outside, goes on"
_KILLED_CODES = (-signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM)
_MOST_KILLS = 3
"""A run that is killed this often and once more has failed: it may be what takes all the memory."""


class ResultError(ValueError):
    """A result that this plan did not make."""


class _Running(NamedTuple):
    run: Run
    process: subprocess.Popen
    """held until it is waited for: one that is thrown away is waited for by the next that is made"""
    started: float


class RunQueue:
    """The runs of a plan, their folder and their results.

    Args:
        runs: from `experiment_plan.read_plan`.
        folder: of what runs write; made when absent.
        results: of what is kept; made when absent.
        collectors: by kind of result.
        workers: runs at a time.

    Raises:
        ValueError: a kind of result without a collector, or fewer than 1 worker.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        folder: str | Path,
        results: str | Path,
        collectors: Mapping[str, Collector],
        workers: int = 1,
    ) -> None:
        if unknown := {run.result for run in runs} - {None, *collectors}:
            raise ValueError(f"Results of the kind {unknown} are unknown; legal are {sorted(collectors)}.")
        if workers < 1:
            raise ValueError(f"workers is {workers}; give 1 or more runs at a time.")
        self.runs, self.workers, self.collectors = list(runs), workers, dict(collectors)
        self.folder, self.results = Path(folder).absolute(), Path(results).absolute()
        self.failed: dict[str, str] = {}
        self._running: dict[int, _Running] = {}
        self._stopping = False

    # What is done ---------------------------------------------------------------------------------------------------

    def result(self, run: Run) -> dict[str, Any] | None:
        """What is kept of a run; None when there is nothing yet.

        Raises:
            ResultError: it was made by a run of that name with other arguments.
        """
        path = self._result_path(run)
        if run.result is None or not path.exists():
            return None
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("digest") != run.digest:
            raise ResultError(
                f"{path} was made by another {run.name!r} than the plan's: the plan has changed since. Give the run "
                "another name, or remove that file to make it anew."
            )
        return result

    def is_whole(self, run: Run) -> bool:
        """Whether the folder of a run holds all it should."""
        path = self._finished_path(run)
        return path.exists() and json.loads(path.read_text(encoding="utf-8"))["digest"] == run.digest

    def to_do(self) -> list[Run]:
        """The runs that must still be carried out, in order."""
        wanted: set[str] = set()
        for run in reversed(self.runs):
            users = [other for other in self.runs if run.name in other.needs]
            lacks_result = run.result is not None and self.result(run) is None
            used = any(other.name in wanted for other in users) or (run.result is None and not users)
            if lacks_result or (used and not self.is_whole(run)):
                wanted.add(run.name)
        return [run for run in self.runs if run.name in wanted]

    def attempts(self, run: Run) -> list[dict[str, Any]]:
        """Start and, where the queue lived to see it, end of each time that a run was started."""
        path = self._attempts_path(run)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def cpu_minutes(self, run: Run) -> float:
        """Of all attempts whose end the queue has seen."""
        return sum(entry.get("cpu_seconds", 0.0) for entry in self.attempts(run)) / 60

    # Doing it -------------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Carries out what is to be done; True when all of it succeeded.

        A run that fails takes only those with it that need it. On SIGTERM or SIGINT the running ones get a SIGTERM,
        upon which trainings write a checkpoint, and the queue ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results.mkdir(parents=True, exist_ok=True)
        with (self.folder / "queue.lock").open("w") as lock:
            self._take(lock)
            before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                return self._work(self.to_do(), lock.fileno())
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _take(self, lock: Any) -> None:
        """Runs inherit the lock: what a killed queue left running is waited for, not started a second time."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another queue works in {self.folder}, or a run that a killed one left; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)

    def _work(self, left: list[Run], lock: int) -> bool:
        total = len(left)
        ended = {run.name for run in self.runs} - {run.name for run in left}
        while (left and not self._stopping) or self._running:
            for run in [] if self._stopping else list(left):
                broken = [name for name in run.needs if name in self.failed]
                if broken:
                    self.failed[run.name] = f"not run, for it needs {broken[0]}"
                    self._tell(f"{run.name}: {self.failed[run.name]}", total, left)
                elif len(self._running) < self.workers and ended.issuperset(run.needs + run.after):
                    self._start(run, lock)
                    self._tell(f"{run.name}: started", total, left)
                else:
                    continue
                left.remove(run)
                ended |= {run.name} & self.failed.keys()
            if self._running:
                finished, outcome = self._wait()
                if outcome == _KILLED:
                    left.insert(0, finished)
                else:
                    ended.add(finished.name)
                self._tell(f"{finished.name}: {outcome}", total, left)
        return not left and not self.failed and not self._stopping

    def _start(self, run: Run, lock: int) -> None:
        out = self.folder / run.name
        out.mkdir(exist_ok=True)
        self._note(run, {"started": time.strftime("%Y-%m-%d %H:%M:%S")})
        with (out / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *run.command(self.folder)],
                cwd=ROOT,
                env=os.environ | _ONE_THREAD,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C reaches the queue, which tells its runs in its own way
            )
        self._running[process.pid] = _Running(run, process, time.monotonic())

    def _wait(self) -> tuple[Run, str]:
        """The next run that ends, and in words how."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except InterruptedError:
                continue
            if pid in self._running:
                break
        run, process, started = self._running.pop(pid)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        self._note(run, {"exit": code, "cpu_seconds": round(cpu, 1), "seconds": round(time.monotonic() - started, 1)})
        if code == 0:
            try:
                self._keep(run)
            except Exception as error:  # whatever is wrong with what it left, the other runs are still to be done
                self.failed[run.name] = f"its result cannot be read: {error!r}"
        elif not self._stopping and code in _KILLED_CODES and self._kills(run) <= _MOST_KILLS:
            return run, _KILLED
        elif not self._stopping:
            self.failed[run.name] = f"failed with exit status {code}, see {self.folder / run.name / 'log.txt'}"
        else:
            return run, "stopped"
        return run, self.failed.get(run.name, f"finished, {self.cpu_minutes(run):.1f} CPU minutes")

    def _kills(self, run: Run) -> int:
        return sum(entry.get("exit") in _KILLED_CODES for entry in self.attempts(run))

    def _keep(self, run: Run) -> None:
        """The result, if there is none yet; then the mark that the folder is whole."""
        if run.result is not None and self.result(run) is None:
            attempts = self.attempts(run)
            head = {
                "run": run.name,
                "kind": run.result,
                "digest": run.digest,
                "cpu_minutes": round(self.cpu_minutes(run), 2),
                "attempts": sum("started" in entry for entry in attempts),
                "attempts_without_time": sum("started" in entry for entry in attempts)
                - sum("exit" in entry for entry in attempts),
            }
            result = head | self.collectors[run.result](self.folder / run.name)
            _write(self._result_path(run), _lines(result))
        _write(self._finished_path(run), json.dumps({"digest": run.digest}) + "\n")

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)

    def _tell(self, news: str, total: int, left: Sequence[Run]) -> None:
        running = [one.run for one in self._running.values()]
        waiting = [run for run in left if run not in running and run.name not in self.failed]
        minutes = sum(run.minutes for run in [*running, *waiting]) / self.workers
        done = total - len(waiting) - len(running)
        names = ", ".join(run.name for run in running) or "nothing"
        print(
            f"{time.strftime('%H:%M:%S')} [{done}/{total}] {news}; running: {names}; about {minutes / 60:.1f} h left",
            flush=True,
        )

    # Files ----------------------------------------------------------------------------------------------------------

    def _note(self, run: Run, entry: Mapping[str, Any]) -> None:
        with self._attempts_path(run).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _attempts_path(self, run: Run) -> Path:
        return self.folder / run.name / "attempts.jsonl"

    def _finished_path(self, run: Run) -> Path:
        return self.folder / run.name / "finished.json"

    def _result_path(self, run: Run) -> Path:
        return self.results / f"{run.name}.json"


def _lines(result: Mapping[str, Any]) -> str:
    """JSON with a line for each key, and for each row of a list of lists: small, and its changes can be read."""
    parts = []
    for key, value in result.items():
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, list) and value and isinstance(value[0], list):
            text = "[\n  " + ",\n  ".join(json.dumps(row, allow_nan=False) for row in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)

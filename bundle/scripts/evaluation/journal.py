"""What an evaluation has finished, on disk: an interrupted run goes on where it was, and never mixes settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np

from ..datasets.datalist import PATHS
from .query_scores import Outcome

SETTINGS_FILE, FINISHED_FILE, ANSWERS_FOLDER = "settings.json", "finished.jsonl", "answers"
# What other processes than the first one have finished, by their rank.
_FINISHED_BY = "finished.{}.jsonl"


class SettingsError(ValueError):
    """The folder holds results of other settings."""


class ScoreJournal:
    """The finished volumes of one evaluation.

    `settings.json` says what was evaluated how. `finished.jsonl` has a line for each volume, `{"case", "rows",
    "evidence"}`, written at once when all its queries are scored. `answers/<case>.npz` has the masks of its
    predictions. A line that was cut off by the interruption counts for nothing.

    Of several processes each writes a file of its own, `finished.<rank>.jsonl` but for the first one, and reads all: so
    the next run may have another number of them.

    Args:
        output_dir: made when absent.
        settings: JSON types, see `run_settings`; all results in a folder share them.

    Raises:
        SettingsError: the folder holds results of other settings.
    """

    def __init__(self, output_dir: str | Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.settings = json.loads(json.dumps(settings))
        self.output_dir.mkdir(parents=True, exist_ok=True)
        known = self.output_dir / SETTINGS_FILE
        with idist.one_rank_first():
            if known.exists():
                self._compare(json.loads(known.read_text(encoding="utf-8")))
            else:
                known.write_text(json.dumps(self.settings, indent=1) + "\n", encoding="utf-8")
        rank = idist.get_rank()
        self._own_file = self.output_dir / (FINISHED_FILE if rank == 0 else _FINISHED_BY.format(rank))
        _remove_torn_line(self._own_file)
        self._finished = self._read()

    def pending(self, volumes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The volumes (`datasets.volume_cases.read_volume_cases`) that are still to be done."""
        return [volume for volume in volumes if volume["case"] not in self._finished]

    def wait_for_others(self) -> None:
        """Returns when all processes are here, and knows what each has finished."""
        idist.barrier()
        self._finished = self._read()

    def append(self, item: Mapping[str, Any], outcomes: Sequence[Outcome], rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps what came of a volume's queries, and their rows."""
        shape = next((outcome.mask.shape for outcome in outcomes if outcome.mask is not None), (0, 0, 0))
        masks = [np.zeros(shape, bool) if outcome.mask is None else outcome.mask for outcome in outcomes]
        path = self._answers(item["case"])
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, bits=np.packbits(np.stack(masks).reshape(len(masks), -1), axis=1), shape=shape)
        evidence = [None if outcome.evidence is None else dict(outcome.evidence) for outcome in outcomes]
        volume = {"case": item["case"], "rows": list(rows), "evidence": evidence}
        with self._own_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(volume, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._finished[item["case"]] = volume

    def rows(self, volumes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of finished volumes, in the order of the datalist."""
        return [row for volume in volumes for row in self._finished.get(volume["case"], {"rows": []})["rows"]]

    def answer(self, volume: Mapping[str, Any], number: int) -> tuple[dict[str, Any] | None, np.ndarray]:
        """Evidence and mask bool [S, H, W] of the query with that number of a finished volume."""
        with np.load(self._answers(volume["case"])) as kept:
            shape = tuple(int(length) for length in kept["shape"])
            mask = np.unpackbits(kept["bits"][number], count=int(np.prod(shape))).reshape(shape).astype(bool)
        return self._finished[volume["case"]]["evidence"][number], mask

    def _answers(self, case: str) -> Path:
        return self.output_dir / ANSWERS_FOLDER / f"{case}.npz"

    def _read(self) -> dict[str, dict[str, Any]]:
        """What the whole lines of all files hold, by case."""
        paths = [self.output_dir / FINISHED_FILE, *sorted(self.output_dir.glob(_FINISHED_BY.format("*")))]
        lines = [line for path in paths if path.exists() for line in path.read_bytes().split(b"\n")[:-1]]
        volumes = map(json.loads, lines)
        return {volume["case"]: volume for volume in volumes}

    def _compare(self, before: Mapping[str, Any]) -> None:
        names = [name for name in {**before, **self.settings} if before.get(name) != self.settings.get(name)]
        if names:
            differing = "; ".join(
                f"`{name}` is {before.get(name)!r} there, {self.settings.get(name)!r} now" for name in names
            )
            raise SettingsError(
                f"output_dir {self.output_dir} holds results of other settings: {differing}. Give another "
                "`output_dir`, or remove that folder to begin anew."
            )


def _remove_torn_line(path: Path) -> None:
    """Removes what an interruption left of the last line of a file."""
    if path.exists():
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def run_settings(
    volumes: Sequence[Mapping[str, Any]], files: Mapping[str, str | None], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the numbers depend on.

    Args:
        volumes: see `datasets.volume_cases.read_volume_cases`.
        files: weights and the like by name, a file or a folder each; what is neither (a name of the hub, null) stands
            for itself.
        values: other settings by name, JSON types.

    Returns:
        JSON types; instead of the list and of files a digest of their contents.
    """
    listed = [{**volume, "queries": [_absolute(entry) for entry in volume["queries"]]} for volume in volumes]
    datalist = hashlib.sha256(json.dumps([_absolute(volume) for volume in listed], sort_keys=True).encode())
    return {"datalist": datalist.hexdigest()[:16], **{name: digest(path) for name, path in files.items()}, **values}


def _absolute(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With paths that do not depend on where the run was started."""
    return {key: str(Path(value).absolute()) if key in PATHS else value for key, value in entry.items()}


def digest(path: str | Path | None) -> str | None:
    """SHA-256 (first 16 digits) of a file, or of a folder's names and contents; any other path stands for itself."""
    if path is None or not Path(path).exists():
        return None if path is None else str(path)
    files = [Path(path)] if Path(path).is_file() else sorted(file for file in Path(path).rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            name = "" if file == Path(path) else file.relative_to(path).as_posix()
            total.update(name.encode() + b"\0" + hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()[:16]

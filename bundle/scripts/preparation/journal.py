"""What a preparation has finished, on disk, a file a case: the same command again does only what is left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..layouts.found_cases import FoundCase

CASES_FOLDER = "cases"


class CaseJournal:
    """`cases/<case>.json`, written in one piece when a case is done; a worker may be stopped at any time.

    Args:
        output_dir: of the preparation.
        settings: JSON types that what is written depends on, beside the files of a case.
    """

    def __init__(self, output_dir: str | Path, settings: dict[str, Any]) -> None:
        self.folder = Path(output_dir) / CASES_FOLDER
        self.settings = settings

    def finished(self, case: FoundCase) -> dict[str, Any] | None:
        """The record of a case, if nothing that it was made from has changed since."""
        try:
            record = json.loads(self._path(case.case).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if record.get("made_from") == self._made_from(case) else None

    def keep(self, case: FoundCase, record: dict[str, Any]) -> dict[str, Any]:
        """Writes the record of a case (JSON types), and returns it as it will be read."""
        text = json.dumps(record | {"made_from": self._made_from(case)}, ensure_ascii=False, allow_nan=False)
        path = self._path(case.case)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
        return json.loads(text)

    def _path(self, case: str) -> Path:
        return self.folder / f"{case}.json"

    def _made_from(self, case: FoundCase) -> dict[str, Any]:
        """The files of a case as they are on disk, and all else that its record depends on, as JSON gives it back."""
        files = [[str(path.absolute()), *_state(path)] for path in (case.image, case.label)]
        found = [case.patient, case.names, case.split, case.spacing_is_doubted, case.axes, case.questions]
        return json.loads(json.dumps({"files": files, "found": found, "settings": self.settings}))


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file, which change when it is written anew."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns

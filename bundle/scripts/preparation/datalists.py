"""The lists of cases that training and evaluation read, made from the records of a preparation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .splits import SPLITS


def write_datalists(records: Sequence[dict[str, Any]], splits: Mapping[str, str], output_dir: Path) -> dict[str, int]:
    """Writes `training.json`, `validation.json` and `test.json`; a split without cases has no list.

    Args:
        records: see `prepared_case`.
        splits: of each case.
        output_dir: paths in the lists are relative to it, or absolute.

    Returns:
        The number of questions of each list.
    """
    counts = {}
    for split in SPLITS:
        entries = [entry for record in records if splits[record["case"]] == split for entry in _entries(record, split)]
        path = output_dir / f"{split}.json"
        if entries:
            path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
        counts[split] = len(entries)
    return counts


def _entries(record: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """The questions of a case as entries of `datasets.datalist`."""
    files = {"image": record["image"], "label": record["label"], "patient": record["patient"]}
    return [
        {**files, "case": f"{record['case']}_q{number}", **question}
        for number, question in enumerate(record["questions"][split])
    ]

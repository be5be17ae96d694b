"""Which side each case is on, beside data sets that were prepared before and share patients with this one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .fingerprint import same_patients
from .splits import PatientSplit, split_patients

_FILE = "patients.json"


def sides_of(
    records: Sequence[Mapping[str, Any]], beside: Sequence[str | Path], fractions: Mapping[str, float], seed: int
) -> PatientSplit:
    """Splits the prepared cases.

    The lists of earlier data sets are written: a patient who is in one of them stays on that side, even if the official
    split of this data set says otherwise. So the data sets whose official test counts are prepared first.

    Args:
        records: with "case", "patient", "split" (official, or None) and "fingerprint".
        beside: folders of earlier preparations.
        fractions: of the patients without an official split.
        seed: of the draw.

    Returns:
        The sides of these cases alone; `joined` and `moved` also tell of earlier ones.

    Raises:
        ValueError: a folder of `beside` in which nothing was prepared, or fractions that are none.
    """
    earlier = {side["case"]: side for folder in beside for side in _read(folder)}
    here = {record["case"]: record for record in records}
    everyone = earlier | here
    fingerprints = {name: case["fingerprint"] for name, case in everyone.items()}
    official = {name: case["split"] for name, case in everyone.items() if case["split"] is not None}
    moved = {}
    for first, second in same_patients(fingerprints) if earlier else ():
        if first in earlier and second not in earlier:
            moved |= {second: official[second]} if official.get(second, official[first]) != official[first] else {}
            official[second] = official[first]
    patients = {name: case["patient"] for name, case in everyone.items()}
    split = split_patients(patients, fingerprints, official, fractions, seed)
    return PatientSplit({name: split.of_case[name] for name in here}, split.joined, split.moved | moved)


def write_sides(records: Sequence[Mapping[str, Any]], splits: Mapping[str, str], output_dir: Path) -> None:
    """Writes who is on which side, for data sets that are prepared later."""
    sides = [
        {key: record[key] for key in ("case", "patient", "fingerprint")} | {"split": splits[record["case"]]}
        for record in records
    ]
    (output_dir / _FILE).write_text(json.dumps(sides) + "\n", encoding="utf-8")


def _read(folder: str | Path) -> list[dict[str, Any]]:
    path = Path(folder) / _FILE
    if not path.is_file():
        raise ValueError(
            f"`beside` names {folder}, which has no {_FILE}; give the `output_dir` of a preparation that has ended"
        )
    return json.loads(path.read_text(encoding="utf-8"))

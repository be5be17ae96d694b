"""What became of a data set, in Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..layouts.found_cases import LeftOut, listed
from .splits import PatientSplit

_MOST_NAMED = 12
_ORDER = ("training", "validation", "test")


class Prepared(NamedTuple):
    """All that a report tells of."""

    dataset: str
    dataset_dir: str
    released: int | None
    records: Sequence[dict[str, Any]]
    left_out: Sequence[LeftOut]
    split: PatientSplit


def write_report(prepared: Prepared, path: Path) -> None:
    """Writes the report: counts, what is left out and why, repairs, labels, geometry, patients, questions."""
    sections = (_counts, _left_out, _repairs, _labels, _geometry, _patients, _questions, _notes)
    text = "\n\n".join(part for part in (section(prepared) for section in sections) if part)
    path.write_text(f"{text}\n\n![Some of the cases with their labels](contact_sheet.png)\n", encoding="utf-8")


def _counts(prepared: Prepared) -> str:
    found = len(prepared.records) + len(prepared.left_out)
    of = "" if prepared.released is None else f" (the release has {prepared.released} with labels)"
    rows = []
    for split in _ORDER:
        records = [record for record in prepared.records if prepared.split.of_case[record["case"]] == split]
        questions = sum(len(record["questions"][split]) for record in records)
        rows.append((split, len(records), len({record["patient"] for record in records}), questions))
    told = f"{found} cases found{of}, {len(prepared.records)} prepared, {len(prepared.left_out)} left out"
    table = _table(("split", "cases", "patients", "questions"), rows)
    return f"# {prepared.dataset}\n\n`{prepared.dataset_dir}`: {told}.\n\n{table}"


def _left_out(prepared: Prepared) -> str:
    if not prepared.left_out:
        return ""
    counts = Counter(left.reason for left in prepared.left_out)
    total = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    rows = [(left.case, left.reason, left.message) for left in prepared.left_out]
    return f"## Left out\n\n{total}.\n\n" + _table(("case", "reason", "what was found"), rows)


def _repairs(prepared: Prepared) -> str:
    rows = [(record["case"], repair, told) for record in prepared.records for repair, told in record["repairs"].items()]
    if not rows:
        return ""
    counts = ", ".join(f"{repair} {count}" for repair, count in Counter(row[1] for row in rows).most_common())
    return f"## Repaired\n\n{counts}.\n\n" + _table(("case", "defect", "what was done"), rows)


def _labels(prepared: Prepared) -> str:
    names = dict.fromkeys(name for record in prepared.records for name in record["names"])
    rows = []
    for name in names:
        sizes, without, count = [], [], 0
        for record in prepared.records:
            parts = [part["ml"] for part in record["parts"] if _is_of(part, name)]
            if name in record["names"]:
                count += bool(parts)
                sizes += [sum(parts)] if parts and record["spacing_mm"] else []
                without += [] if parts else [record["case"]]
        rows.append((name, count, _range(sizes), f"{len(without)}: {listed(without, _MOST_NAMED)}" if without else "0"))
    return "## Labels\n\n" + _table(("label", "cases", "ml, median (range)", "not in view"), rows)


def _is_of(part: Mapping[str, Any], name: str) -> bool:
    """Whether a part is of a label: "right kidney" is of "kidney"."""
    return part["name"] == name or part["name"].removeprefix(f"{part['side']} ") == name


def _geometry(prepared: Prepared) -> str:
    if not prepared.records:
        return ""
    axes = Counter(record["axes"] for record in prepared.records)
    told = ", ".join(f"{codes} {count}" for codes, count in axes.most_common())
    rows = []
    for axis, name in enumerate(("first", "second", "third")):
        lengths = [record["shape"][axis] for record in prepared.records]
        edges = [record["spacing_mm"][axis] for record in prepared.records if record["spacing_mm"]]
        rows.append((name, _range(lengths), _range(edges) or "not known"))
    table = _table(("axis", "voxels, median (range)", "mm, median (range)"), rows)
    return f"## Geometry\n\nWhere the axes of the files point: {told}.\n\n{table}"


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.4g} ({min(values):.4g} to {max(values):.4g})" if values else ""


def _patients(prepared: Prepared) -> str:
    joined = [(*pair, prepared.split.of_case.get(pair[1], "")) for pair in prepared.split.joined]
    text = "## Patients\n\nNo two cases of different names are of one scan."
    if joined:
        text = "## Patients\n\nOf one scan, and so on one side:\n\n" + _table(("case", "and", "split"), joined)
    moved = [(case, official, prepared.split.of_case.get(case, "")) for case, official in prepared.split.moved.items()]
    if moved:
        text += "\n\nNot on their official side, because the patient is on another one elsewhere:\n\n"
        text += _table(("case", "official", "now"), moved)
    return text


def _questions(prepared: Prepared) -> str:
    sides = [(record, prepared.split.of_case[record["case"]]) for record in prepared.records]
    asked = [question for record, side in sides for question in record["questions"][side]]
    if not asked:
        return "## Questions\n\nNone."
    types = sorted({question["type"] for question in asked})
    counts = Counter((question["target"], question["type"]) for question in asked)
    targets = sorted({question["target"] for question in asked})
    rows = [(target, *(counts[target, kind] or "" for kind in types)) for target in targets]
    text = "## Questions\n\n" + _table(("target", *types), rows)
    dropped = Counter(
        (drop["target"], re.sub(r"\d+", "...", drop["reason"]))
        for record, side in sides
        for drop in record["dropped"][side]
    )
    if dropped:
        told = [(target, reason, count) for (target, reason), count in sorted(dropped.items())]
        text += "\n\nNot asked:\n\n" + _table(("target", "why", "cases"), told)
    return text


def _notes(prepared: Prepared) -> str:
    rows = [(record["case"], note) for record in prepared.records for note in record["notes"]]
    return "## Notes\n\n" + _table(("case", "note"), rows) if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", r"\|").replace("\n", " ")

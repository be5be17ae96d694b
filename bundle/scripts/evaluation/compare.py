"""Two evaluations of the same cases, side by side: the difference of each number with its interval.

    python -m medvol_r1.evaluation.compare results_a results_b

The difference is the second minus the first, case by case, with a 95% bootstrap interval over patients. `--output
FILE.json` also writes the numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .bootstrap import ClusterBootstrap
from .columns import MARKS
from .tables import interval, plain, table

MEASURES = ("DSC", "IoU", "NSD", "R_a", "box_iou", "format_ok")
"""Columns of `per_query.csv` that are compared; of single images those of box and points as well."""

# Two runs of one datalist agree on the volume of a target to this many ml; more means other labels or another grid.
_SAME_VOLUME_ML = 1e-6


class ComparisonError(ValueError):
    """Two results that cannot be compared."""


def compare(
    first: Sequence[Mapping[str, str]], second: Sequence[Mapping[str, str]], bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    """Paired differences, second minus first, over the cases that both have.

    Args:
        first: rows of a `per_query.csv`, all values as text.
        second: rows of another one.
        bootstrap: of the intervals.

    Returns:
        `cases`, `only_first`, `only_second`; by subset and for `all`: the means of both (`first`, `second`) and their
        `difference` for each measure, and `DSC_macro`; `false_positive_rate` of absent targets.

    Raises:
        ComparisonError: no case in common, or a case has another target in the two.
    """
    by_case = {row["case"]: row for row in second}
    pairs = [(row, by_case[row["case"]]) for row in first if row["case"] in by_case]
    if not pairs:
        raise ComparisonError("the two results have no case in common; evaluate the same datalist twice.")
    for one, other in pairs:
        _check_same(one, other)
    subsets = sorted({one["subset"] for one, _ in pairs} - {""})
    groups = {name: [pair for pair in pairs if pair[0]["subset"] == name] for name in subsets} if subsets else {}
    return {
        "cases": len(pairs),
        "only_first": len(first) - len(pairs),
        "only_second": len(second) - len(pairs),
        "groups": {name: _compared(group, bootstrap) for name, group in {**groups, "all": pairs}.items()},
    }


def read_rows(folder: str | Path) -> list[dict[str, str]]:
    """The rows of `<folder>/per_query.csv`.

    Raises:
        ComparisonError: there is none, or it is empty.
    """
    path = Path(folder) / "per_query.csv"
    if not path.is_file():
        raise ComparisonError(f"{path} does not exist; give two folders that evaluate.json wrote.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"case", "patient", "present", "DSC"} <= rows[0].keys():
        raise ComparisonError(f"{path} holds no rows of an evaluation.")
    return rows


def tables(compared: Mapping[str, Any]) -> str:
    """Markdown."""
    rows = [
        [f"`{name}`" if name != "all" else name, measure, str(values["difference"]["n"])]
        + [plain(values["first"]), plain(values["second"]), interval(values["difference"])]
        for name, group in compared["groups"].items()
        for measure, values in group.items()
    ]
    counts = f"{compared['cases']} cases in both"
    for key, place in (("only_first", "first"), ("only_second", "second")):
        counts += f", {compared[key]} in the {place} only" if compared[key] else ""
    return f"{counts}.\n\n" + table(["queries", "measure", "n", "first", "second", "second - first"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="medvol_r1.evaluation.compare", description=__doc__.split("\n")[0])
    parser.add_argument("first", type=Path, help="a folder that evaluate.json wrote")
    parser.add_argument("second", type=Path, help="another one, of the same datalist")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap resamples (default 1000)")
    options = parser.parse_args(arguments)
    try:
        bootstrap = ClusterBootstrap(options.samples)
        compared = compare(read_rows(options.first), read_rows(options.second), bootstrap)
    except ValueError as error:
        parser.error(str(error))
    print(tables(compared))
    if options.output:
        options.output.write_text(json.dumps(compared, indent=1) + "\n", encoding="utf-8")


def _check_same(one: Mapping[str, str], other: Mapping[str, str]) -> None:
    same = all(one[key] == other[key] for key in ("present", "target", "query"))
    volumes = [float(row["true_ml"]) for row in (one, other) if row["true_ml"]]
    if not same or (len(volumes) == 2 and abs(volumes[0] - volumes[1]) > _SAME_VOLUME_ML):
        raise ComparisonError(
            f"case {one['case']!r} is not the same in both: {_described(one)} and {_described(other)}; evaluate one "
            "datalist on one `metric_grid`."
        )


def _described(row: Mapping[str, str]) -> str:
    return f"({row['target']}, {row['true_ml'] or '?'} ml, {row['query']!r})"


def _compared(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], bootstrap: ClusterBootstrap) -> dict:
    present = [pair for pair in pairs if pair[0]["present"] == "True"]
    absent = [pair for pair in pairs if pair[0]["present"] == "False"]
    compared = {}
    marked = all(row.get(MARKS[0]) for pair in present for row in pair)
    for measure in (*MEASURES, *(MARKS if present and marked else ())):
        known = [pair for pair in present if pair[0][measure] and pair[1][measure]]
        values = np.array([[_number(row[measure]) for row in pair] for pair in known]).reshape(-1, 2)
        if measure == "DSC":
            compared["DSC_macro"] = _paired(known, values, bootstrap, macro=True)
        compared[measure] = _paired(known, values, bootstrap)
    if absent:
        found = np.array([[float(float(row["pred_ml"] or 0) > 0) for row in pair] for pair in absent])
        compared["false_positive_rate"] = _paired(absent, found, bootstrap)
    return compared


def _paired(pairs: Sequence[Any], values: np.ndarray, bootstrap: ClusterBootstrap, macro: bool = False) -> dict:
    """First, second and difference of values [n, 2]."""
    patients = [one["patient"] for one, _ in pairs]
    targets = [one["target"] for one, _ in pairs]
    columns = {"first": values[:, 0], "second": values[:, 1], "difference": values[:, 1] - values[:, 0]}
    if macro:
        return {name: bootstrap.macro_mean(patients, column, targets) for name, column in columns.items()}
    return {name: bootstrap.mean(patients, column) for name, column in columns.items()}


def _number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)


if __name__ == "__main__":
    main()

"""From the rows of all queries to the numbers of `metrics.json`. Definitions: bundle/docs/evaluation.md."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..inferer import ABSENT
from ..self_consistency import ABSTAINED
from .bootstrap import ClusterBootstrap, ratio
from .columns import BOUNDS, GROUNDING

Row = Mapping[str, Any]

# Upper edges, exclusive; what lies above the last one has the last name.
_SIZES = ((1.0, "< 1 ml"), (10.0, "1-10 ml"), (100.0, "10-100 ml"), (1000.0, "100-1000 ml"), (np.inf, ">= 1000 ml"))
_THICKNESSES = ((1.5, "< 1.5 mm"), (3.0, "1.5-3 mm"), (5.0, "3-5 mm"), (np.inf, ">= 5 mm"))

BREAKDOWNS: dict[str, Callable[[Row], Any]] = {
    "subset": lambda row: row["subset"],
    "target": lambda row: row["target"],
    "type": lambda row: row["type"],
    "implicitness": lambda row: row["implicitness"],
    "laterality": lambda row: row["laterality"],
    "size": lambda row: _band(row["true_ml"], _SIZES),
    "slice_thickness": lambda row: _band(row["slice_thickness_mm"], _THICKNESSES),
}


def statistics(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """All numbers of an evaluation.

    Args:
        rows: see `columns.COLUMNS`.
        bootstrap: of the intervals, over the rows' patients.

    Returns:
        JSON types: `counts`; `present`, the scores of targets that are there (`present_block`), with `by` for each
        breakdown; `absent`, those of targets that are not.
    """
    present = [row for row in rows if row["present"]]
    absent = [row for row in rows if row["present"] is False]
    by = {
        name: {str(key): present_block(group, bootstrap) for key, group in _grouped(present, key_of).items()}
        for name, key_of in BREAKDOWNS.items()
    }
    subsets = _grouped(absent, BREAKDOWNS["subset"])
    return {
        "counts": _counts(rows),
        "present": present_block(present, bootstrap) | {"by": by},
        "absent": absent_block(absent, bootstrap)
        | {"by": {"subset": {str(name): absent_block(group, bootstrap) for name, group in subsets.items()}}},
    }


def present_block(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """The numbers of some queries whose targets are there."""
    means = {name: _mean(rows, name, bootstrap) for name in ("DSC", "IoU", "NSD", "HD95_mm")}
    block: dict[str, Any] = {
        "n": len(rows),
        "DSC_macro": _macro(rows, "DSC", bootstrap),
        "IoU_macro": _macro(rows, "IoU", bootstrap),
        **{f"{name}_mean": mean for name, mean in means.items()},
        "DSC_quartiles": _quartiles(rows, "DSC"),
        "HD95_undefined": len(rows) - means["HD95_mm"]["n"],
        **_pooled(rows, bootstrap),
        "IoU_implied_by_DSC_mean": _implied(rows, bootstrap),
        "format_rate": _mean(rows, "format_ok", bootstrap),
        "called_absent": _rate(rows, lambda row: row["status"] == ABSENT, bootstrap),
        "abstained": _rate(rows, lambda row: row["status"] == ABSTAINED, bootstrap),
        **{name: _mean(rows, name, bootstrap) for name in GROUNDING},
        "laterality_swap_rate": _mean(rows, "swapped", bootstrap),
        **_paraphrases(rows, bootstrap),
    }
    for bound in BOUNDS:
        if any(row[f"{bound}_DSC"] is not None for row in rows):
            for score in ("DSC", "IoU"):
                block[f"{bound}_{score}_macro"] = _macro(rows, f"{bound}_{score}", bootstrap)
                block[f"{bound}_{score}_mean"] = _mean(rows, f"{bound}_{score}", bootstrap)
    return block


def absent_block(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """The numbers of some queries whose targets are not there. A false positive is a mask that is not empty."""
    found = [row["pred_ml"] for row in rows if row["pred_ml"]]
    return {
        "n": len(rows),
        "false_positive_rate": _rate(rows, lambda row: bool(row["pred_ml"]), bootstrap),
        "called_absent": _rate(rows, lambda row: row["status"] == ABSENT, bootstrap),
        "no_answer": _rate(rows, lambda row: not row["format_ok"] or row["status"] == ABSTAINED, bootstrap),
        "false_positive_ml_median": float(np.median(found)) if found else None,
    }


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "queries": len(rows),
        "present": sum(row["present"] is True for row in rows),
        "absent": sum(row["present"] is False for row in rows),
        "unlabelled": sum(row["present"] is None for row in rows),
        "volumes": len({row["image"] for row in rows}),
        "patients": len({row["patient"] for row in rows}),
        "status": dict(sorted(Counter(row["status"] for row in rows).items())),
        "errors": sum(row["error"] for row in rows),
        "not_parsed": sum(not row["error"] and not row["format_ok"] for row in rows),
    }


def _grouped(rows: Iterable[Row], key_of: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Groups in the order of their names; rows without a name are in none."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        key = key_of(row)
        if key is not None:
            groups[key].append(row)
    order = [name for bands in (_SIZES, _THICKNESSES) for _, name in bands]
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[0]) if item[0] in order else -1, item[0])))


def _band(value: float | None, bands: Sequence[tuple[float, str]]) -> str | None:
    return None if value is None else next(name for edge, name in bands if value < edge)


def _patients(rows: Sequence[Row]) -> list[str]:
    return [row["patient"] for row in rows]


def _mean(rows: Sequence[Row], key: str, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    known = [row for row in rows if row[key] is not None]
    return bootstrap.mean(_patients(known), [row[key] for row in known])


def _macro(rows: Sequence[Row], key: str, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    known = [row for row in rows if row[key] is not None]
    targets = [row["target"] for row in known]
    return bootstrap.macro_mean(_patients(known), [row[key] for row in known], targets)


def _rate(rows: Sequence[Row], holds: Callable[[Row], bool], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    return bootstrap.mean(_patients(rows), [holds(row) for row in rows])


def _quartiles(rows: Sequence[Row], key: str) -> list[float] | None:
    values = [row[key] for row in rows if row[key] is not None]
    return [float(edge) for edge in np.percentile(values, [25, 50, 75])] if values else None


def _pooled(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Overlap of all masks taken as one, by volume; an answer that is missing has the volume 0."""
    known = [row for row in rows if row["true_ml"] is not None]
    shared, pred, true = (np.array([row[key] for row in known]) for key in ("shared_ml", "pred_ml", "true_ml"))
    patients = _patients(known)
    dsc = np.stack([2 * shared, pred + true], axis=1)
    iou = np.stack([shared, pred + true - shared], axis=1)
    return {
        "DSC_pooled": bootstrap.estimate(patients, dsc, ratio),
        "IoU_pooled": bootstrap.estimate(patients, iou, ratio),
    }


def _implied(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """IoU = DSC / (2 - DSC) of the mean DSC: what a table holds that converts one into the other."""
    values = np.array([row["DSC"] for row in rows], dtype=np.float64)
    columns = np.stack([values, np.ones(len(values))], axis=1)

    def convert(sums: np.ndarray) -> np.ndarray:
        mean = ratio(sums)
        return mean / (2 - mean)

    return bootstrap.estimate(_patients(rows), columns, convert)


def _paraphrases(rows: Sequence[Row], bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Over targets of a volume that were asked for in two wordings or more: mean and worst DSC of the wordings."""
    asked: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["target"] is not None:
            asked[row["image"], row["target"]].append(row)
    several = [group for group in asked.values() if len({row["query"] for row in group}) > 1]
    patients = [group[0]["patient"] for group in several]
    scores = [[row["DSC"] for row in group] for group in several]
    return {
        "paraphrase_DSC_mean": bootstrap.mean(patients, [np.mean(values) for values in scores]),
        "paraphrase_DSC_worst": bootstrap.mean(patients, [min(values) for values in scores]),
    }

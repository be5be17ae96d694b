"""What the experiments of bundle/docs/reproduction.md keep of their runs: a few kilobytes of JSON each."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from training_curves import read_scalars

SCORES = ("DSC", "IoU", "R_a", "box_iou", "format_ok")
"""Columns of `per_query.csv` that are summed over the queries of a volume whose targets are there."""

BOUNDS = tuple(f"{bound}_{score}" for bound in ("oracle_anchor", "prior") for score in ("DSC", "IoU"))
"""The same of the bounds, where the evaluation has them."""

MARKS = ("marks_iou", "point_dice", "answer_box_DSC")
"""The same of single images, whose rows also name the modality."""

_CURVES = r"train_loss|loss|reward/.*|groups/zero_std_fraction|policy/entropy|format_rate|R_a|box_iou|absent_accuracy"
_POINTS = 50


def training_result(folder: Path) -> dict[str, Any]:
    """Curves of a training's TensorBoard events, each of at most 50 points, means over equal stretches of steps."""
    scalars = read_scalars(folder / "tensorboard")
    return {
        "steps": int(max((points[-1, 0] for points in scalars.values()), default=0)),
        "curves": {tag: thinned(points) for tag, points in scalars.items() if re.fullmatch(_CURVES, tag)},
    }


def thinned(points: np.ndarray) -> list[list[float]]:
    """[n, 2] of step and value to at most `_POINTS` means over neighbors; steps without a value (NaN) are left out."""
    points = points[np.isfinite(points[:, 1])]
    parts = np.array_split(points, min(_POINTS, len(points))) if len(points) else []
    return [[round(float(part[:, 0].mean()), 1), round(float(part[:, 1].mean()), 4)] for part in parts]


def evaluation_result(folder: Path) -> dict[str, Any]:
    """Sums over the queries of each volume of an evaluation: enough for means, and for paired bootstrap over volumes.

    `columns` names what the `rows` hold: volume, subset, how many queries with a target that is there, the sums of
    their scores, how many with an absent one, and of these how many got a mask all the same; of single images also
    `modality`.
    """
    with (folder / "per_query.csv").open(encoding="utf-8", newline="") as file:
        queries = list(csv.DictReader(file))
    scores = [*SCORES, *(name for name in (*BOUNDS, *MARKS) if any(query.get(name) for query in queries))]
    modality = {"modality": "type"} if "marks_iou" in scores else {}
    volumes: dict[str, list[dict[str, str]]] = {}
    for query in queries:
        volumes.setdefault(query["patient"], []).append(query)
    rows = []
    for volume, asked in volumes.items():
        present = [query for query in asked if query["present"] == "True"]
        absent = [query for query in asked if query["present"] == "False"]
        sums = [round(sum(_number(query[score]) for query in present), 4) for score in scores]
        masked = sum(_number(query["pred_ml"]) > 0 for query in absent)
        named = [asked[0][column] for column in modality.values()]
        rows.append([volume, asked[0]["subset"], len(present), *sums, len(absent), masked, *named])
    return {"columns": ["volume", "subset", "present", *scores, "absent", "masked_absent", *modality], "rows": rows}


def gap_result(folder: Path) -> dict[str, Any]:
    """What `best_of_samples.py` wrote: it is small already."""
    return json.loads((folder / "gap.json").read_text(encoding="utf-8"))


def _number(text: str) -> float:
    """Of a cell; a failed answer may leave one empty, which is nothing found."""
    return float(text == "True") if text in ("True", "False") else float(text or 0)

"""The small MedSAM2 on test phantoms, from jittered boxes of the true key slice, beside two trivial ways.

    python benchmarks/demo_propagator.py --medsam2 bundle/models/medsam2 --volumes 64

or on a CT of your own with a label map, a row for each label:

    python benchmarks/demo_propagator.py --image ct.nii.gz --labels labels.nii.gz --ids 1 2 3 5

The key slice is the one with the largest area, its boxes are moved by up to 5%. `extent` is the Dice over the whole
volume: slices found past an end of the object count against it. `ellipse` fills the ellipses inscribed in the boxes,
and `copy` the true key mask, on all slices of the true extent, which the model has to find by itself.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from medvol_r1.datasets.clips import LabelledVolumes, phantom_volumes
from medvol_r1.medsam2 import load_medsam2
from medvol_r1.metrics import dice
from medvol_r1.phantom import SUBSETS
from medvol_r1.propagator_evaluator import PropagatorEvaluator, evaluation_cases
from medvol_r1.transforms import LoadVolumed, OrientByAffined, ResizeSlicesd, SampleSlicesd, WindowHUd
from monai.transforms import Compose
from tqdm import tqdm

_COLUMNS = {"key": "key slice", "extent": "extent", "ellipse": "ellipse", "copy": "copy of the true key mask"}


def score_volume(
    medsam2: Path, image: str, labels: str, ids: list[int], size: int
) -> dict[str, list[dict[str, float]]]:
    """For each label of a CT a list with its Dice; labels that are too small to box are left out."""
    keys = ["image", "label"]
    shown = Compose(
        [
            LoadVolumed(keys),
            OrientByAffined(keys),
            SampleSlicesd(keys, num_slices=10_000),
            WindowHUd("image"),
            ResizeSlicesd(keys, size, mode=["bilinear", "nearest"]),
        ]
    )({"image": image, "label": labels})
    pictures = (shown["image"].as_tensor() * 255).round().to(torch.uint8)
    evaluator = PropagatorEvaluator(device="cpu", val_data_loader=[None], network=load_medsam2(medsam2))
    scores = {}
    for value in tqdm(ids, leave=False):
        pool = LabelledVolumes((shown["label"].as_tensor() == value).to(torch.uint8), pictures, 1)
        for case in evaluation_cases([pool], objects=1):
            with torch.no_grad():
                scores[f"label {value}"] = [_dices(output) for output in evaluator._iteration(evaluator, case)]
    return scores


def score(medsam2: Path, split: str, volumes: int, objects: int) -> dict[str, list[dict[str, float]]]:
    """For each subset a dictionary of Dice for each object."""
    phantoms = phantom_volumes(volumes * len(SUBSETS), split)
    network = load_medsam2(medsam2)
    scores = defaultdict(list)
    for number, subset in enumerate(SUBSETS):
        turn = slice(number, None, len(SUBSETS))
        pool = LabelledVolumes(phantoms.labels[turn], phantoms.images[turn], phantoms.first_label)
        evaluator = PropagatorEvaluator(device="cpu", val_data_loader=[None], network=network)
        for case in tqdm(evaluation_cases([pool], objects), desc=subset, leave=False):
            with torch.no_grad():
                outputs = evaluator._iteration(evaluator, case)
            scores[f"`{subset}`"] += [_dices(output) for output in outputs]
    return scores


def table(scores: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a row for each subset, and one for all."""
    groups = dict(scores)
    groups["all"] = [row for rows in scores.values() for row in rows]
    lines = [f"| volumes | objects | {' | '.join(_COLUMNS.values())} |", "|---|---" + "|---" * len(_COLUMNS) + "|"]
    for name, rows in groups.items():
        means = [f"{np.mean([row[column] for row in rows]):.3f}" for column in _COLUMNS]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(means)} |")
    return "\n".join(lines)


def _dices(output: dict[str, torch.Tensor]) -> dict[str, float]:
    label = output["label"].numpy()
    return {
        "key": dice(output["key_pred"].numpy(), output["key_label"].numpy()),
        "extent": dice(output["pred"].numpy(), label),
        "ellipse": dice(output["ellipse"].numpy(), label),
        "copy": dice(output["copy"].numpy(), label),
    }


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Score the small MedSAM2 on test phantoms.")
    parser.add_argument("--medsam2", type=Path, default="bundle/models/medsam2", help="folder or file of the weights")
    parser.add_argument("--split", default="test", help="of the seeds; `validation` to choose between weights")
    parser.add_argument("--volumes", type=int, default=64, help="phantoms of each subset")
    parser.add_argument("--objects", type=int, default=4, help="objects of a phantom, at most")
    parser.add_argument("--image", help="a CT instead of phantoms")
    parser.add_argument("--labels", help="its label map")
    parser.add_argument("--ids", type=int, nargs="+", default=[1], help="labels to follow")
    parser.add_argument("--size", type=int, default=112, help="side of a slice in pixels, of a CT")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.image:
        scores = score_volume(options.medsam2, options.image, options.labels, options.ids, options.size)
    else:
        scores = score(options.medsam2, options.split, options.volumes, options.objects)
    text = table(scores)
    print(text)
    if options.output:
        command = shlex.join(["python", *sys.argv])
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f"Printed by `{command}`.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The small MedSAM2 on test phantoms, from jittered boxes of the true key slice, beside two trivial ways.

    python benchmarks/demo_propagator.py --medsam2 bundle/models/medsam2 --volumes 64

or on a CT of your own with a label map, a row for each label:

    python benchmarks/demo_propagator.py --image ct.nii.gz --labels labels.nii.gz --ids 1 2 3 5

The key slice is the one with the largest area, its boxes are moved by up to 5%. `extent` is the Dice over the whole
volume: slices found past an end of the object count against it. `ellipse` fills the ellipses inscribed in the boxes,
and `copy` the true key mask, on all slices of the true extent, which the model has to find by itself.

`--zoom_margin 0.5 1` prints another table: the same objects without zoom and with each of these margins, with the
ratios to no zoom. `time` is the ratio of the CPU time of whole volumes with all their objects.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.metrics import dice
from medvol_r1.phantom.scan import SUBSETS
from medvol_r1.propagator_training.clips import LabelledVolumes, phantom_volumes
from medvol_r1.propagator_training.evaluator import PropagatorEvaluator, VolumeObjects, evaluation_cases
from medvol_r1.volume.transforms import LoadSlicesd, ResizeSlicesd, WindowHUd
from monai.transforms import Compose
from tqdm import tqdm
from transformers import Sam2VideoModel

_COLUMNS = {"key": "key slice", "extent": "extent", "ellipse": "ellipse", "copy": "copy of the true key mask"}
_ZOOM_COLUMNS = ("objects", "zoom margin", "key slice", "extent", "ratio", "better", "worse", "CPU s a volume", "time")
_ALIKE = 0.02  # of Dice


class Scores:
    """Dice of each object of a group of volumes, and the CPU seconds that it took to follow all of them."""

    def __init__(self) -> None:
        self.dices: list[dict[str, float]] = []
        self.seconds, self.volumes = 0.0, 0

    def mean(self, column: str) -> float:
        return float(np.mean([row[column] for row in self.dices]))

    def __add__(self, other: Scores) -> Scores:
        total = Scores()
        total.dices, total.volumes = self.dices + other.dices, self.volumes + other.volumes
        total.seconds = self.seconds + other.seconds
        return total


def volume_cases(image: str, labels: str, ids: Sequence[int], size: int) -> dict[str, list[VolumeObjects]]:
    """A case for each label of a CT; labels that are too small to box are left out."""
    keys = ["image", "label"]
    shown = Compose(
        [
            LoadSlicesd(keys, num_slices=10_000),
            WindowHUd("image"),
            ResizeSlicesd(keys, size, mode=["bilinear", "nearest"]),
        ]
    )({"image": image, "label": labels})
    pictures = (shown["image"].as_tensor() * 255).round().to(torch.uint8)
    cases = {}
    for value in ids:
        pool = LabelledVolumes((shown["label"].as_tensor() == value).to(torch.uint8), pictures, 1)
        if found := evaluation_cases([pool], objects=1):
            cases[f"label {value}"] = found
    return cases


def phantom_cases(split: str, volumes: int, objects: int) -> dict[str, list[VolumeObjects]]:
    """The cases of each subset."""
    phantoms = phantom_volumes(volumes * len(SUBSETS), split)
    cases = {}
    for number, subset in enumerate(SUBSETS):
        turn = slice(number, None, len(SUBSETS))
        pool = LabelledVolumes(phantoms.labels[turn], phantoms.images[turn], phantoms.first_label)
        cases[f"`{subset}`"] = evaluation_cases([pool], objects)
    return cases


def score(
    cases: dict[str, list[VolumeObjects]], network: Sam2VideoModel, zoom_margin: float | None = None
) -> dict[str, Scores]:
    """The groups of `cases`, and "all"."""
    evaluator = PropagatorEvaluator(device="cpu", val_data_loader=[None], network=network, zoom_margin=zoom_margin)
    scores = {name: Scores() for name in cases}
    for name, group in cases.items():
        for case in tqdm(group, desc=name, leave=False):
            start = time.process_time()
            with torch.no_grad():
                outputs = evaluator._iteration(evaluator, case)
            scores[name].seconds += time.process_time() - start
            scores[name].volumes += 1
            scores[name].dices += [_dices(output) for output in outputs]
    return scores | {"all": sum(scores.values(), Scores())}


def table(scores: dict[str, Scores]) -> str:
    """Markdown: a row for each group."""
    lines = [f"| volumes | objects | {' | '.join(_COLUMNS.values())} |", "|---|---" + "|---" * len(_COLUMNS) + "|"]
    for name, group in scores.items():
        means = [f"{group.mean(column):.3f}" for column in _COLUMNS]
        lines.append(f"| {name} | {len(group.dices)} | {' | '.join(means)} |")
    return "\n".join(lines)


def zoom_table(by_margin: dict[float | None, dict[str, Scores]]) -> str:
    """Markdown: for each group a row without zoom and one for each margin; objects that differ by more than 0.02."""
    lines = [f"| volumes | {' | '.join(_ZOOM_COLUMNS)} |", "|---" * (1 + len(_ZOOM_COLUMNS)) + "|"]
    for name, plain in by_margin[None].items():
        for margin, scores in by_margin.items():
            group = scores[name]
            change = np.array([b["extent"] - a["extent"] for a, b in zip(plain.dices, group.dices, strict=True)])
            cells = [
                name,
                str(len(group.dices)),
                "off" if margin is None else f"{margin:g}",
                f"{group.mean('key'):.3f}",
                f"{group.mean('extent'):.3f}",
                f"{group.mean('extent') / plain.mean('extent'):.3f}",
                str((change > _ALIKE).sum()),
                str((change < -_ALIKE).sum()),
                f"{group.seconds / group.volumes:.2f}",
                f"{group.seconds / plain.seconds:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
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
    parser.add_argument("--zoom_margin", type=float, nargs="+", default=[], help="margins to compare to no zoom")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.image:
        cases = volume_cases(options.image, options.labels, options.ids, options.size)
    else:
        cases = phantom_cases(options.split, options.volumes, options.objects)
    network = load_medsam2(options.medsam2)
    by_margin = {margin: score(cases, network, margin) for margin in (None, *options.zoom_margin)}
    text = table(by_margin[None])
    if options.zoom_margin:
        text += f"\n\n{zoom_table(by_margin)}"
    print(text)
    if options.output:
        command = shlex.join(["python", *sys.argv])
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f"Printed by `{command}`.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

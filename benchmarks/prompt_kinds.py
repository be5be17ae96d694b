"""What a box, points, and both say to a propagator: DSC from true prompts on single slices of phantoms.

    python benchmarks/prompt_kinds.py --phantoms 24

Every structure of a slice is marked as `targets` teaches it: by the boxes of its components, by two points in each, or
by both. The slice is a volume of one slice. With `--zoom_margin 1.5`, as in `inference.json`, a box is looked at from
near, and points alone see the whole slice; `--zoom_margin none` shows the whole slice to all. Real images:
`other_modalities.py`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.evaluation.tables import table
from medvol_r1.medsam2 import load_medsam2
from medvol_r1.metrics import dice
from medvol_r1.propagation import SlicePropagator
from medvol_r1.slice_prompt import SlicePrompt, prompt_of
from medvol_r1.targets import sft_anchor

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("box", "points", "box and points")


class MarkedSlice(NamedTuple):
    """A slice float32 [1, H, W] in 0..1 and the mask bool [1, H, W] of a structure on it."""

    name: str
    slices: np.ndarray
    truth: np.ndarray


def true_prompts(truth: np.ndarray) -> dict[str, SlicePrompt]:
    """The prompt of each kind for a mask [1, H, W] that is not empty."""
    anchor = sft_anchor(truth, np.random.default_rng(0), points_per_box=2)
    boxes, points = anchor.boxes_xyxy_1000, anchor.points_xy_1000
    said = (EvidenceAnchor(0, boxes), EvidenceAnchor(0, (), points), anchor)
    return {kind: prompt_of(anchor, *truth.shape[1:]) for kind, anchor in zip(KINDS, said, strict=True)}


def phantom_slices(count: int) -> Iterator[MarkedSlice]:
    """The slice that shows the most of each target of `test` phantoms, 128 pixels wide."""
    for item in PhantomVolumes("test", count, num_slices=32, slice_size=128):
        for mask in item.masks.numpy():
            key = mask.sum(axis=(1, 2)).argmax()
            if mask[key].any():
                yield MarkedSlice("phantoms", item.slices.numpy()[key : key + 1], mask[key : key + 1])


def measured(propagator: SlicePropagator, marked: Iterator[MarkedSlice]) -> dict[str, list[dict[str, float]]]:
    """DSC of each kind of prompt, for each structure, by name."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name, slices, truth in marked:
        if not truth.any():
            continue
        prompts = true_prompts(truth)
        found = propagator.masks(slices, list(prompts.values()))
        rows[name].append({kind: dice(mask.cpu().numpy(), truth) for kind, mask in zip(prompts, found, strict=True)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--medsam2_path", type=Path, default=ROOT / "bundle" / "models" / "medsam2")
    parser.add_argument("--zoom_margin", type=lambda text: None if text == "none" else float(text), default=1.5)
    arguments = parser.parse_args()
    propagator = SlicePropagator(load_medsam2(arguments.medsam2_path), zoom_margin=arguments.zoom_margin)
    rows = measured(propagator, phantom_slices(arguments.phantoms))
    print(
        table(
            ["slices", "structures", *KINDS],
            [
                [name, str(len(of_name)), *(f"{np.mean([row[kind] for row in of_name]):.3f}" for kind in KINDS)]
                for name, of_name in rows.items()
            ],
        )
    )


if __name__ == "__main__":
    main()

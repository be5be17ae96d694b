"""CPU seconds of the parts of the small experiments, on training seeds: what their budget was made from.

    python benchmarks/reproduction_pilot.py

The language model is untrained: its completions end at the length of true answers, and R_c gets true answers with
their key slice moved by up to one and their boxes by up to 2%, each different, so that every one of them is propagated;
a real step has answers that do not parse, miss or repeat, and costs at most this. Also what the propagator is worth at
64 pixels: Dice of true anchors, whole volume.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medvol_r1.anchor import EvidenceAnchor, format_completion, parse_completion
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.demo_models.tiny_lvlm import build_tiny_lvlm
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.evaluation.bounds import oracle_boxes
from medvol_r1.evaluation.tables import table
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.metrics import dice
from medvol_r1.phantom.scan import SUBSETS
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import ConsistencyReward

_SLICES, _SIDE, _QUERIES, _COMPLETIONS = 16, 64, 8, 8


def cpu_seconds(work: Callable[[VolumeQueries], Any], items: list[VolumeQueries]) -> float:
    """Mean over the items but the first, which pays for what is made once."""
    work(items[0])
    started = time.process_time()
    for item in items[1:]:
        work(item)
    return (time.process_time() - started) / (len(items) - 1)


def language_model_rows(items: list[VolumeQueries]) -> list[list[str]]:
    """Seconds of a volume in SFT, in sampling and in the update."""
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_lvlm(folder, image_size=_SIDE)
        network = VolumeLVLM(folder, slice_size=_SIDE).unfreeze()
    answers = {id(item): [torch.tensor(network.prompts.completion_ids(t)) for t in item.completions] for item in items}
    length = round(float(np.mean([len(ids) for group in answers.values() for ids in group])))
    network.max_new_tokens = length

    def learn(item: VolumeQueries, copies: int) -> None:
        volume = network.encode(item.slices)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            groups = network.log_probs(volume, item.texts, [[ids] * copies for ids in answers[id(item)]])
        (-sum(log_probs.mean() for group in groups for log_probs in group)).backward()
        network.zero_grad()

    def sample(item: VolumeQueries) -> None:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            network.generate(item.slices, item.texts, num_samples=_COMPLETIONS, sampling=Sampling(temperature=1.0))

    count = _QUERIES * _COMPLETIONS
    return [
        [f"SFT, {_QUERIES} answers of {length} tokens", f"{cpu_seconds(lambda item: learn(item, 1), items):.2f}"],
        [f"sampling {count} completions of {length} tokens", f"{cpu_seconds(sample, items):.2f}"],
        [f"update with {count} completions", f"{cpu_seconds(lambda item: learn(item, _COMPLETIONS), items):.2f}"],
    ]


def reward_row(items: list[VolumeQueries], name: str, propagator: SlicePropagator, delta: int) -> list[str]:
    """Seconds of R_c of all completions of a volume."""
    rng = np.random.default_rng(0)
    reward = ConsistencyReward(propagator, delta=delta)

    def score(item: VolumeQueries) -> None:
        texts = [near(text, rng) for text in item.completions for _ in range(_COMPLETIONS)]
        masks = [mask for mask in item.masks.numpy() for _ in range(_COMPLETIONS)]
        reward(completions=texts, masks=masks, slices=[item.slices] * len(texts))

    seconds = cpu_seconds(score, items)
    return [f"R_c of {_QUERIES * _COMPLETIONS} completions, Delta = {delta}, MedSAM2 at {name}", f"{seconds:.2f}"]


def near(completion: str, rng: np.random.Generator) -> str:
    """An answer beside a true one."""
    anchor = parse_completion(completion, _SLICES)
    if not isinstance(anchor, EvidenceAnchor) or anchor.is_absent:
        return completion
    key_index = int(np.clip(anchor.key_index + rng.integers(-1, 2), 0, _SLICES - 1))
    low, high = np.array([(0, 0, 1, 1)]), np.array([(999, 999, 1000, 1000)])
    true = np.array(anchor.boxes_xyxy_1000)
    boxes = np.clip(true + rng.integers(-20, 21, true.shape), low, high)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return format_completion(EvidenceAnchor(key_index, tuple(tuple(map(int, box)) for box in boxes)))


def oracle_row(name: str, propagator: SlicePropagator, volumes: int) -> list[str]:
    """Mean Dice of true anchors on each subset."""
    cells = []
    for subset in SUBSETS:
        data = PhantomVolumes("train", volumes, _SLICES, _SIDE, [subset], _QUERIES)
        scores = []
        for item in map(data.__getitem__, range(volumes)):
            truths = [mask for mask in item.masks.numpy() if mask.any()]
            prompts = [oracle_boxes(truth, int(truth.sum(axis=(1, 2)).argmax())) for truth in truths]
            anchors = [(prompt.key_index, np.array(prompt.boxes_xyxy_px)) for prompt in prompts if prompt is not None]
            predicted = propagator.masks(item.slices, anchors)
            scores += [dice(mask.numpy(), truth) for mask, truth in zip(predicted, truths, strict=True)]
        cells.append(f"{np.mean(scores):.3f}")
    return [name, *cells]


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="CPU seconds of the parts of the small experiments.")
    parser.add_argument("--medsam2", type=Path, default=Path("bundle/models/medsam2"), help="folder of the model")
    parser.add_argument("--volumes", type=int, default=5, help="training phantoms, of each subset for Dice (default 5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = PhantomVolumes("train", options.volumes, _SLICES, _SIDE, queries_per_volume=_QUERIES, think=False)
    items = [data[index] for index in range(options.volumes)]
    small = build_tiny_medsam2(_SIDE)
    demo = load_medsam2(options.medsam2)
    small.load_state_dict(demo.state_dict())
    propagators = {"96 pixels": SlicePropagator(demo), "64 pixels": SlicePropagator(small.eval())}
    rows = language_model_rows(items)
    for name, delta in (("96 pixels", 5), *(("64 pixels", delta) for delta in (2, 5, 10, 15))):
        rows.append(reward_row(items, name, propagators[name], delta))
    print(table(["part, one volume", "CPU seconds"], rows), end="\n\n")
    oracle = [oracle_row(name, propagator, options.volumes) for name, propagator in propagators.items()]
    print(table(["MedSAM2 at", *(f"`{subset}`" for subset in SUBSETS)], oracle))


if __name__ == "__main__":
    main()

"""What RL can still win: the greedy answer against the best of G sampled ones, on validation phantoms.

    python benchmarks/best_of_samples.py --lvlm LVLM --medsam2 MEDSAM2 --output_dir runs/gap

Each in R_a, R_s and R_c (Delta = 2), means over the queries; the best of a query is that of the largest sum of the
three. Completions are sampled as in the secondary evaluation (temperature 0.7, top-p 0.8, top-k 20). Writes `gap.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import AxialReward, ConsistencyReward, Reward, SpatialReward

_SLICES, _SIDE, _DELTA = 16, 64, 2
_SAMPLED = Sampling(temperature=0.7, top_p=0.8, top_k=20)


def scores(terms: dict[str, Reward], item: VolumeQueries, answers: list[list[str]]) -> torch.Tensor:
    """[terms, K, n] of n answers to each of the K queries of a volume."""
    columns = {
        "completions": [text for group in answers for text in group],
        "masks": [mask.numpy() for mask, group in zip(item.masks, answers, strict=True) for _ in group],
    }
    slices = [item.slices] * len(columns["masks"])
    values = [term(slices=slices, **columns) for term in terms.values()]
    return torch.tensor(values).reshape(len(terms), len(answers), -1)


def best_of(values: torch.Tensor) -> torch.Tensor:
    """[terms, K] of the answer with the largest sum, from [terms, K, n]."""
    best = values.sum(dim=0).argmax(dim=-1)
    return values.gather(2, best.expand(len(values), -1)[..., None])[..., 0]


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="The greedy answer against the best of some sampled ones.")
    parser.add_argument("--lvlm", required=True, help="folder of the language model")
    parser.add_argument("--medsam2", required=True, help="folder of the propagator")
    parser.add_argument("--volumes", type=int, default=24, help="validation phantoms (default 24)")
    parser.add_argument("--samples", type=int, default=8, help="G, sampled answers of a query (default 8)")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = VolumeLVLM(options.lvlm, slice_size=_SIDE, max_new_tokens=128)
    consistency = ConsistencyReward(SlicePropagator(load_medsam2(options.medsam2)), delta=_DELTA)
    terms: dict[str, Reward] = {"R_a": AxialReward(), "R_s": SpatialReward(), "R_c": consistency}
    generator = torch.Generator().manual_seed(0)
    data = PhantomVolumes("validation", options.volumes, _SLICES, _SIDE, think=False)
    greedy, best = [], []
    for item in map(data.__getitem__, range(len(data))):
        first = network.generate(item.slices, item.texts)
        more = network.generate(
            item.slices, item.texts, num_samples=options.samples, sampling=_SAMPLED, generator=generator
        )
        greedy.append(best_of(scores(terms, item, [[one.text for one in group] for group in first])))
        best.append(best_of(scores(terms, item, [[one.text for one in group] for group in more])))
    found = {
        name: dict(zip(terms, torch.cat(values, dim=1).mean(dim=1).tolist(), strict=True))
        for name, values in {"greedy": greedy, "best": best}.items()
    }
    options.output_dir.mkdir(parents=True, exist_ok=True)
    (options.output_dir / "gap.json").write_text(json.dumps(found | {"samples": options.samples}) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

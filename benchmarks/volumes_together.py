"""Completions of several volumes in one batch against one volume after another.

    python benchmarks/volumes_together.py
    python benchmarks/volumes_together.py --device cuda

`greedy` is what validation does, `sampled` the rollouts of GRPO (temperature 1, the same number of completions in both,
but other draws). Volumes are encoded and their prefixes prefilled before; what is measured is writing, both ways by
turns in one process: CPU seconds of one thread, or seconds on a GPU, medians. The share of encoding, which is the same
both ways, is printed beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from statistics import median

import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.lvlm.encoded_volume import EncodedVolume, prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling


def seconds(work: Callable[[], object], device: str) -> float:
    """CPU seconds of this process, or seconds on a GPU."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    lvlm: VolumeLVLM,
    items: list[VolumeQueries],
    encoded: list[EncodedVolume],
    together: int,
    num_samples: int,
    options: argparse.Namespace,
) -> None:
    """Prints the row of a number of volumes and of completions for each query; 1 is greedy."""
    sampling = Sampling(1.0 if num_samples > 1 else 0.0)
    written: dict[int, list[list[int]]] = {}

    def write(at_a_time: int) -> None:
        generator = torch.Generator(options.device).manual_seed(0)
        groups = []
        for start in range(0, len(items), at_a_time):
            part = slice(start, start + at_a_time)
            texts = [item.texts for item in items[part]]
            arguments = {"num_samples": num_samples, "sampling": sampling, "generator": generator}
            groups += chain.from_iterable(lvlm.generate_many(encoded[part], texts, **arguments))
        written[at_a_time] = [one.ids.tolist() for one in chain.from_iterable(groups)]

    for at_a_time in (1, together):
        write(at_a_time)  # graphs are captured
    ways = [partial(write, at_a_time) for at_a_time in (1, together)]
    runs = [[seconds(way, options.device) for way in ways] for _ in range(options.repeats)]
    apart, joined = (median(run[way] for run in runs) for way in (0, 1))
    tokens = [f"{sum(map(len, one)) / len(one):.1f}" for one in written.values()]
    equal = sum(a == b for a, b in zip(*written.values(), strict=True)) if num_samples == 1 else "other draws"
    row = ["greedy" if num_samples == 1 else "sampled", together, len(written[1]), " and ".join(tokens), equal]
    print("|", " | ".join(map(str, row)), f"| {apart:.2f} | {joined:.2f} | {apart / joined:.2f} |", flush=True)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Several volumes in one batch against one after another.")
    parser.add_argument("--lvlm", default="bundle/models/lvlm", help="folder of the model")
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--queries", type=int, default=8, help="of each volume")
    parser.add_argument("--generations", type=int, default=8, help="sampled completions of a query")
    parser.add_argument("--together", type=int, nargs="+", default=[2, 4, 8], help="volumes in one batch")
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="or cuda")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lvlm = VolumeLVLM(options.lvlm, max_new_tokens=96).to(options.device).load()
    phantoms = PhantomVolumes(
        "validation", options.volumes, options.slices, options.size, queries_per_volume=options.queries
    )
    items, encoded = [phantoms[number] for number in range(options.volumes)], []

    def encode() -> None:
        for item in items:
            encoded.append(lvlm.encode(item.slices.to(options.device)))
            prefilled(lvlm.base, encoded[-1])

    with torch.no_grad():
        first = seconds(encode, options.device)
    print(f"{options.volumes} volumes, P = {len(encoded[0].prefix_ids)}; encoded and prefilled in {first:.2f} s\n")
    print("| | volumes together | completions | tokens each | equal | one by one, s | together, s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for num_samples in (1, options.generations):
        for together in options.together:
            compare(lvlm, items, encoded, together, num_samples, options)


if __name__ == "__main__":
    main()

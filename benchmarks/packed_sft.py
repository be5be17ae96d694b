"""One SFT step with a volume's queries packed behind one prefix, against the same step with a sequence for each query.

    python benchmarks/packed_sft.py --lvlm bundle/models/lvlm

Both are run in turns on the same phantom in one process; CPU seconds of the process, forward and backward. The floor is
the ratio of the tokens that go through the language model.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.lvlm.model import VolumeLVLM


def step(lvlm: VolumeLVLM, item: VolumeQueries, packed: bool) -> tuple[float, float]:
    """CPU seconds and loss of one forward and backward pass over the item's queries."""
    ids = [torch.tensor(lvlm.prompts.completion_ids(text)) for text in item.completions]
    groups = [range(len(ids))] if packed else [[index] for index in range(len(ids))]
    total = sum(len(one) for one in ids)
    lvlm.zero_grad(set_to_none=True)
    start, loss = time.process_time(), 0.0
    for group in groups:
        volume = lvlm.encode(item.slices)
        log_probs = lvlm.log_probs(volume, [item.texts[i] for i in group], [[ids[i]] for i in group])
        part = -sum(one[0].sum() for one in log_probs) / total
        part.backward()
        loss += part.item()
    return time.process_time() - start, loss


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Packed against separate sequences in one SFT step.")
    parser.add_argument("--lvlm", default="bundle/models/lvlm", help="folder of the model")
    parser.add_argument("--queries", type=int, default=10, help="queries of the volume")
    parser.add_argument("--repeats", type=int, default=5, help="steps of each kind; medians are compared")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lvlm = VolumeLVLM(options.lvlm, slice_size=96).unfreeze()
    item = PhantomVolumes("validation", 1, 24, 96, queries_per_volume=options.queries)[0]
    step(lvlm, item, packed=True)  # warm up
    runs = [(step(lvlm, item, packed=True), step(lvlm, item, packed=False)) for _ in range(options.repeats)]
    packed, separate = (np.median([run[kind][0] for run in runs]) for kind in (0, 1))
    prefix = len(lvlm.encode(item.slices).prefix_ids)
    branches = [
        len(lvlm.prompts.tail_ids(text)) + len(lvlm.prompts.completion_ids(completion))
        for text, completion in zip(item.texts, item.completions, strict=True)
    ]
    tokens = (len(branches) * prefix + sum(branches)) / (prefix + sum(branches))
    print(f"{len(branches)} queries, prefix {prefix} tokens, query and completion {np.mean(branches):.0f} tokens")
    print(f"loss: packed {runs[0][0][1]:.6f}, separate {runs[0][1][1]:.6f}")
    ratio = separate / packed
    print(f"separate {separate:.2f} s, packed {packed:.2f} s: {ratio:.2f}x (ratio of the tokens {tokens:.2f})")


if __name__ == "__main__":
    main()

"""How long a phantom and its queries take at training size; they are made on the fly.

    python benchmarks/phantom_speed.py

CPU milliseconds of one thread for a volume of 96 x 96 x 32 voxels, and for eight queries about 24 of its slices. The
target for a volume is 50.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from medvol_r1.phantom.scan import SUBSETS, make_phantom
from medvol_r1.queries.bank import sample_queries


def milliseconds(subset: str, volumes: int) -> tuple[np.ndarray, np.ndarray]:
    """CPU milliseconds of each of some phantoms, and of the queries about it."""
    rng = np.random.default_rng(0)
    made, asked = [], []
    make_phantom(0, subset, shape=(96, 96, 32), canonical=True)  # warm up
    for seed in range(volumes):
        start = time.process_time()
        label = make_phantom(seed, subset, shape=(96, 96, 32), canonical=True).label
        between = time.process_time()
        sample_queries(np.ascontiguousarray(label[:, :, :24]), subset, "train", 8, rng)
        made.append(1000 * (between - start))
        asked.append(1000 * (time.process_time() - between))
    return np.array(made), np.array(asked)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Time phantoms and queries at training size.")
    parser.add_argument("--volumes", type=int, default=40, help="phantoms of each subset")
    options = parser.parse_args()
    print("| subset | phantom, median ms | slowest | 8 queries, median ms |\n|---|---|---|---|")
    for subset in SUBSETS:
        made, asked = milliseconds(subset, options.volumes)
        print(f"| `{subset}` | {np.median(made):.0f} | {made.max():.0f} | {np.median(asked):.1f} |")


if __name__ == "__main__":
    main()

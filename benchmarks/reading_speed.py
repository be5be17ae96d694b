"""From a NIfTI file to the slices that the models see: the plain MONAI chain, all voxels first, and the slices alone.

    python benchmarks/reading_speed.py

A CT of 512 x 512 x 600 int16 voxels, of which 64 slices are shown at 256 x 256: uncompressed, uncompressed with the
slices along the fastest axis of the file, and gzipped. It is a phantom, enlarged, with noise, so that gzip has work to
do. MONAI's chain is `LoadImaged`, `Orientationd`, `ScaleIntensityRanged`, `Resized`; it interpolates between slices
where the bundle picks them. "whole" is the bundle's chain over all voxels, "slices" the one of its configs, which gives
the same to the bit.

Seconds are CPU seconds of one thread, with the file in the page cache: the median of the repeats after one to warm up.
Each row is a process of its own; memory is its peak above what it held before the first reading.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import psutil
import torch
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.transforms import (
    LoadSlicesd,
    LoadVolumed,
    OrientByAffined,
    ResizeSlicesd,
    SampleSlicesd,
    WindowHUd,
)
from monai.transforms import Compose, LoadImaged, Orientationd, Resized, ScaleIntensityRanged
from tqdm import tqdm

_MIB = 1024**2
_SIZE = 256
_WINDOW = (-160.0, 240.0)
# What the rows of a file are called: whether it is gzipped, and whether its slices lie along its fastest axis.
_FILES = {"ct.nii": "uncompressed", "ct_slices_fastest.nii": "uncompressed, slices fastest", "ct.nii.gz": "gzip"}
_FAST = "slices"


class Job(NamedTuple):
    """One row."""

    path: Path
    chain: str
    num_slices: int
    repeats: int


class Cost(NamedTuple):
    """CPU seconds, peak memory in bytes, and the sum of what was shown, to compare the rows by."""

    seconds: float
    memory: int
    checksum: float


def chain_of(name: str, num_slices: int) -> Callable[[Mapping[Hashable, Any]], Any]:
    """The transforms of a row."""
    if name == "MONAI":
        return Compose(
            [
                LoadImaged("image", ensure_channel_first=True),
                Orientationd("image", "LPS", labels=None),
                ScaleIntensityRanged("image", *_WINDOW, 0, 1, clip=True),
                Resized("image", (_SIZE, _SIZE, num_slices)),
            ]
        )
    whole = [LoadVolumed("image"), OrientByAffined("image"), SampleSlicesd("image", num_slices)]
    load = whole if name == "whole" else [LoadSlicesd("image", num_slices)]
    return Compose([*load, WindowHUd("image", [_WINDOW]), ResizeSlicesd("image", _SIZE)])


def measure(job: Job) -> Cost:
    """The cost of one row, in the process that calls it."""
    torch.set_num_threads(1)
    chain, data = chain_of(job.chain, job.num_slices), {"image": str(job.path)}
    before = psutil.Process().memory_info().rss
    shown = chain(data)["image"]
    seconds = []
    for _ in range(job.repeats):
        start = time.process_time()
        chain(data)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before  # ru_maxrss is in KiB on Linux
    return Cost(statistics.median(seconds), peak, float(shown.double().sum()))


def write_scans(folder: Path, slices: int) -> None:
    """The three files of one scan."""
    side, rng = 512, np.random.default_rng(0)
    phantom = make_phantom(1_000_000, "organs", shape=(side // 4, side // 4, 60), canonical=True).image
    voxels = np.empty((side, side, slices), dtype=np.int16, order="F")
    for z in range(slices):
        enlarged = np.kron(phantom[..., z * phantom.shape[2] // slices], np.ones((4, 4), np.float32))
        voxels[..., z] = enlarged + rng.normal(0, 10, enlarged.shape)
    upright = np.diag([-0.8, -0.8, 1.0, 1.0])
    for name in _FILES:
        fastest = "fastest" in name
        stored, affine = (voxels.transpose(2, 1, 0), upright[:, [2, 1, 0, 3]]) if fastest else (voxels, upright)
        nib.Nifti1Image(stored, affine).to_filename(folder / name)


def table(costs: Mapping[Job, Cost]) -> str:
    """Markdown: a row for each job; each is compared with the slices alone of the same file.

    Raises:
        ValueError: when the bundle's two chains show different slices.
    """
    lines = ["| file | chain | CPU seconds | slices alone are faster by | peak memory, MiB |", "|---" * 5 + "|"]
    for job, cost in costs.items():
        alone = next(c for j, c in costs.items() if j.path == job.path and j.chain == _FAST)
        if job.chain == "whole" and cost.checksum != alone.checksum:
            raise ValueError(f"{job.path.name}: the slices alone are not those of the whole volume")
        lines.append(
            f"| {_FILES[job.path.name]} | {job.chain} | {cost.seconds:.2f} | {cost.seconds / alone.seconds:.1f} "
            f"| {cost.memory / _MIB:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Time the way from a NIfTI file to the shown slices.")
    parser.add_argument("--slices", type=int, default=600, help="of the scan")
    parser.add_argument("--shown", type=int, default=64, help="slices to show")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    # A process for each step, or the peak of one would hide those after it. Forked: nothing is imported anew.
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        folder = Path(name)
        pool.apply(write_scans, (folder, options.slices))
        chains = ("MONAI", "whole", _FAST)
        jobs = [Job(folder / file, chain, options.shown, options.repeats) for file in _FILES for chain in chains]
        costs = dict(zip(jobs, tqdm(pool.imap(measure, jobs), total=len(jobs), leave=False), strict=True))
    text = table(costs)
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f"Printed by `{shlex.join(['python', *sys.argv])}`.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

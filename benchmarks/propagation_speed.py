"""What following boxes through slices costs: the demo model and the official architecture (t512), beside each other.

    python benchmarks/propagation_speed.py

For each number of boxes, seconds to encode a slice (once a volume; with zoom once a box), and to take one box through
one slice whose features are known: prompt or memory attention, mask decoder, memory encoder. The key slice is in the
middle and both ends are reached; the further away it is, the more memories are attended, up to 7. The weights of t512
are random, which changes no time. Beside the sum of all slices stands what transformers' own session takes for the same
work on the same weights: one session with all boxes, which keeps the features of all slices; and one session a box, as
MedSAM2's script has it (the session of one box, times their number).

On a CPU the seconds are CPU seconds of one thread, on a GPU of the wall clock.

Memory is the peak of a process of its own above what it held before there was a model: weights, features, memories. On
a GPU it is the peak of what PyTorch allocated there.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from medvol_r1.medsam2.slice_features import preprocess
from medvol_r1.medsam2.weights import load_medsam2, t512_config
from medvol_r1.propagation import SlicePropagator
from tqdm import tqdm
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

_MIB = 1024**2
_BOX = (0.3, 0.4, 0.5, 0.6)  # x1, y1, x2, y2 as shares of the slice


class Job(NamedTuple):
    """One row: `weights` of a model, or None for t512 with random ones."""

    name: str
    weights: Path | None
    boxes: int
    slices: int
    device: str


class Cost(NamedTuple):
    """What a row says: `encode` seconds a slice, `follow` seconds a box and slice, peak `memory` in MiB, and seconds of
    transformers' `session` with all boxes."""

    parameters: int
    side: int
    encode: float
    follow: float
    memory: float
    session: float


def measure(job: Job) -> Cost:
    """Costs of one model with one number of boxes, in the process that calls it."""
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    model = load_medsam2(job.weights) if job.weights else Sam2VideoModel(t512_config()).eval()
    propagator = SlicePropagator(model).to(job.device)
    slices = np.random.default_rng(0).random((job.slices, model.image_size, model.image_size), dtype=np.float32)
    boxes = np.tile(np.array(_BOX) * model.image_size, (job.boxes, 1))
    features = propagator.encode(slices)
    propagator.mask(slices[:2], 0, boxes[:1])  # warm up

    @torch.no_grad()
    def encode() -> None:
        for pair in torch.arange(job.slices).split(2):  # as the driver, which walks to both sides at once
            features.of(pair, [features.whole] * len(pair))

    encoding = _seconds(encode, job.device)
    following = _seconds(lambda: propagator.mask(features, job.slices // 2, boxes), job.device)
    if job.device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before  # ru_maxrss is in KiB on Linux
    else:
        peak = torch.cuda.max_memory_allocated(job.device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    session = _seconds(lambda: walk_by_session(model, slices, job.slices // 2, boxes), job.device)
    walked = job.boxes * job.slices
    return Cost(parameters, model.image_size, encoding / job.slices, following / walked, peak / _MIB, session)


def walk_by_session(model: Sam2VideoModel, slices: np.ndarray, key_index: int, boxes: np.ndarray) -> None:
    """The same work by transformers: all boxes in one session, to one end, then anew to the other."""
    session = Sam2VideoInferenceSession(
        preprocess(slices, model.image_size),
        *slices.shape[1:],
        dtype=model.dtype,
        inference_device=model.device,
        inference_state_device=model.device,
        max_vision_features_cache_size=len(slices),
    )
    for reverse in (False, True):
        session.reset_tracking_data()
        for number, box in enumerate(torch.tensor(boxes, dtype=torch.float32)):
            corners = {"point_coords": box.reshape(1, 1, 2, 2), "point_labels": torch.tensor([[[2, 3]]]).int()}
            session.add_point_inputs(session.obj_id_to_idx(number), key_index, corners)
        session.obj_with_new_inputs = list(range(len(boxes)))
        for _ in model.propagate_in_video_iterator(session, start_frame_idx=key_index, reverse=reverse):
            pass


def table(costs: dict[Job, Cost]) -> str:
    """Markdown: a row for each job."""
    heads = ["model", "parameters", "pixels", "boxes", "encode a slice, s", "a box through a slice, s"]
    slices = next(iter(costs)).slices
    heads += [f"{slices} slices in all, s", "peak memory, MiB", "one session, s (ratio)", "a session a box, s (ratio)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for job, cost in costs.items():
        total = job.slices * (cost.encode + job.boxes * cost.follow)
        single = next((c.session * job.boxes for j, c in costs.items() if (j.name, j.boxes) == (job.name, 1)), math.nan)
        sessions = " | ".join(f"{seconds:.2f} ({seconds / total:.1f})" for seconds in (cost.session, single))
        lines.append(
            f"| {job.name} | {cost.parameters / 1e6:.1f} M | {cost.side} x {cost.side} | {job.boxes} "
            f"| {cost.encode:.4f} | {cost.follow:.4f} | {total:.2f} | {cost.memory:.0f} | {sessions} |"
        )
    return "\n".join(lines)


def _seconds(compute: Callable[[], object], device: str) -> float:
    """Of the CPU, or of the wall clock until a GPU is done."""
    if device == "cpu":
        start = time.process_time()
        compute()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    compute()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Time the propagation of boxes through slices.")
    parser.add_argument("--medsam2", type=Path, default="bundle/models/medsam2", help="weights of the demo model")
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--slices", type=int, default=11, help="of the volume; 11 is the window of R_c")
    parser.add_argument("--device", default="cpu", help="or cuda, cuda:1, ...")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    models = {"demo": options.medsam2, "t512": None}
    jobs = [
        Job(name, path, boxes, options.slices, options.device)
        for name, path in models.items()
        for boxes in options.boxes
    ]
    # A process for each row, or the peak of one would hide those after it. Forked: nothing is imported anew.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        costs = dict(zip(jobs, tqdm(pool.imap(measure, jobs), total=len(jobs), leave=False), strict=True))
    text = table(costs)
    print(text)
    if options.output:
        where = "CPU seconds of one thread" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["python", *sys.argv])
        options.output.write_text(f"Printed by `{command}` ({where}).\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

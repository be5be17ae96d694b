"""Memory while large volumes are prepared and trained on: it must not grow with their number.

    python benchmarks/prepared_memory.py
    python benchmarks/prepared_memory.py --volumes 20 --shape 256 256 100

Writes two CT volumes with noise (so that gzip has work) and their labels, and links them under as many names as asked
for, so that the disk holds two and each name is read. `prepare` is prepare.json with two processes; `train` runs
train.json on the list that it wrote, one volume a step, with a model for small slices, two processes that read ahead,
and slices kept on disk; `again` is the next pass over the list, from what was kept. Printed is what all processes hold
together (shared pages counted once), in MB, after some volumes, and the highest that was seen, looking once a second: a
volume is held for several. Then the seconds that passed, and those of the processor in all processes that have ended.
Needs psutil (extra `test`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


def write_volumes(folder: Path, count: int, shape: Sequence[int]) -> None:
    """A data set in the layout `folder`: `count` names of two volumes with labels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps({"liver": 1}))
    for number in range(count):
        if number < 2:
            _write_volume(folder, number, shape)
        else:
            for kind in ("images", "labels"):
                os.link(folder / kind / f"{number % 2}.nii.gz", folder / kind / f"{number}.nii.gz")


def _write_volume(folder: Path, seed: int, shape: Sequence[int]) -> None:
    """A body of 40 HU in air, with an organ of 120 HU in its middle."""
    rng = np.random.default_rng(seed)
    columns, rows = (np.linspace(-1, 1, side) for side in shape[:2])
    radius = np.hypot(columns[:, None], rows[None])
    slices = [
        np.where(radius < 0.8, 40, -1000) + np.where(radius < 0.2, 80, 0) + rng.normal(0, 12, radius.shape)
        for _ in range(8)
    ]
    image, label = np.empty(shape, np.int16, order="F"), np.zeros(shape, np.uint8, order="F")
    for z in range(shape[2]):
        image[:, :, z] = np.roll(slices[z % 8], z // 8, axis=1)
    label[radius < 0.2, shape[2] // 3 : 2 * shape[2] // 3] = 1
    for kind, voxels in (("images", image), ("labels", label)):
        nib.save(nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 1.0, 1.0])), folder / kind / f"{seed}.nii.gz")


def resident_mb() -> float:
    """What this process and its children hold, MB; pages that they share are counted once."""
    total = 0
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # a worker that has just ended
            continue
    return total / 1e6


def processor_seconds() -> float:
    """What this process and those that it has waited for have used."""
    return sum(os.times()[:4])


@contextmanager
def stage(name: str, marks: Sequence[int], finished: Callable[[], int]) -> Iterator[None]:
    """Prints the row of a stage: memory when `finished()` volumes were first seen to be as many as each mark."""
    seen: list[tuple[int, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            seen.append((finished(), resident_mb()))

    watcher, start, busy = threading.Thread(target=watch), time.monotonic(), processor_seconds()
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        seen.append((finished(), resident_mb()))
    after = [next(memory for count, memory in seen if count >= mark) for mark in marks]
    seconds = time.monotonic() - start, processor_seconds() - busy
    cells = [f"{number:.0f}" for number in (*after, max(memory for _, memory in seen), *seconds)]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def prepare(folder: Path, marks: Sequence[int]) -> None:
    """prepare.json on a data set, to `folder/prepared`."""
    workflow = _workflow(
        "prepare.json",
        dataset="folder",
        dataset_dir=str(folder / "data"),
        output_dir=str(folder / "prepared"),
        fractions={"training": 1.0, "validation": 0.0, "test": 0.0},
    )
    with stage("prepare", marks, lambda: len(list((folder / "prepared" / "labels").glob("[!.]*")))):
        workflow.run()


def train(folder: Path, marks: Sequence[int]) -> None:
    """Two passes of train.json over the list of what was prepared."""
    volumes = marks[-1]
    workflow = _workflow(
        "train.json",
        output_dir=str(folder / "run"),
        train_datalist=str(folder / "prepared" / "training.json"),
        max_steps=volumes,
        batch_size=1,
        num_workers=2,
        num_slices=16,
        slice_size=48,
        patch_size=12,
        queries_per_volume=100,
        validate_every=10 * volumes,
        checkpoint_every=10 * volumes,
        validation_volumes=1,
        **{"network_def#max_new_tokens": 1},
    )
    trainer = workflow.parser.get_parsed_content("train#trainer")
    for number, name in enumerate(("train", "again")):
        with stage(name, marks, lambda passed=number * volumes: trainer.state.iteration - passed):
            trainer.run()
        trainer.state.max_epochs += 1


def _workflow(config: str, **changes: object) -> ConfigWorkflow:
    file = str(BUNDLE / "configs" / config)
    workflow = ConfigWorkflow(file, workflow_type="train", logging_file=False, bundle_root=str(BUNDLE), **changes)
    workflow.initialize()
    return workflow


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Memory while large volumes are prepared and trained on.")
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 300], metavar=("COLUMNS", "ROWS", "SLICES"))
    options = parser.parse_args()
    marks = sorted({max(1, round(options.volumes * share)) for share in (0.05, 0.25, 0.5, 1.0)})
    sys.path.insert(0, str(BUNDLE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_volumes(folder / "data", options.volumes, options.shape)
        print(f"{options.volumes} volumes of {' x '.join(map(str, options.shape))} voxels, MB\n")
        print(f"| stage | {' | '.join(f'after {mark}' for mark in marks)} | highest | seconds | of the processor |")
        print("|---|" + "---|" * (len(marks) + 3), flush=True)
        prepare(folder, marks)
        train(folder, marks)


if __name__ == "__main__":
    main()

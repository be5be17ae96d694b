"""Draws the curves of a run from its TensorBoard events.

    python benchmarks/training_curves.py --events bundle/runs/sft/tensorboard --output curves.png

One panel for each scalar; what was logged more than 100 times is smoothed with a running mean of 25. `--names` takes
those whose names match one of some patterns: `--names "reward/*" R_a box_iou`.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_MANY, _SMOOTHED_OVER = 100, 25


def read_scalars(folder: Path) -> dict[str, np.ndarray]:
    """Name to [n, 2] of step and value; a resumed run's event files count as one, later files win."""
    scalars: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            scalars.setdefault(name, {}).update({event.step: event.value for event in events.Scalars(name)})
    return {name: np.array(sorted(values.items())) for name, values in sorted(scalars.items())}


def draw(scalars: dict[str, np.ndarray]) -> Figure:
    """A panel for each scalar, three to a row."""
    rows = -(-len(scalars) // 3)
    figure = Figure(figsize=(13, 3.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, 3, squeeze=False).flat)
    for unused in panels[len(scalars) :]:
        unused.remove()
    for axes, (name, points) in zip(panels, scalars.items(), strict=False):
        steps, values = points.T
        if len(values) > _MANY:
            axes.plot(steps, values, color="0.85", linewidth=0.6)
            values = np.convolve(values, np.ones(_SMOOTHED_OVER) / _SMOOTHED_OVER, mode="valid")
            steps = steps[_SMOOTHED_OVER - 1 :]
        axes.plot(steps, values, marker="o" if len(values) < 30 else None)
        axes.set_title(name)
        axes.grid(alpha=0.3)
    return figure


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Draw the curves of a run from its TensorBoard events.")
    parser.add_argument("--events", type=Path, required=True, help="folder of the events")
    parser.add_argument("--output", type=Path, required=True, help="picture to write")
    parser.add_argument("--names", nargs="+", default=["*"], metavar="PATTERN", help="scalars to draw (default all)")
    options = parser.parse_args()
    found = read_scalars(options.events)
    scalars = {name: one for name, one in found.items() if any(fnmatchcase(name, p) for p in options.names)}
    if not scalars:
        raise SystemExit(
            f"No scalars in {options.events} match {options.names}; it has {list(found)}. Give the folder of a run's "
            "TensorBoard events."
        )
    draw(scalars).savefig(options.output, dpi=110)
    for name, points in scalars.items():
        print(f"{name:20} {len(points):6} values, last {points[-1, 1]:.4f} at step {int(points[-1, 0])}")


if __name__ == "__main__":
    main()

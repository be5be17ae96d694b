"""Greedy answers on several validation sets, by set and by target."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch.utils.data import DataLoader, Dataset

from ..lvlm.model import VolumeLVLM


class ScoreTable:
    """Scores a language model and keeps what it found.

    Args:
        network: generates the answers.
        score: of a text and its mask bool [S, H, W], by name (`training.validation.score_anchor`).
        datasets: name to a data set of `VolumeQueries`; an empty one is left out.
        collate: of a batch of volumes.
        num_workers: processes that make a set's volumes.
        file: JSON, `[{"step", "scores": {set or set/target: {score: mean}}}, ...]`.
    """

    def __init__(
        self,
        network: VolumeLVLM,
        score: Callable[[str, np.ndarray], dict[str, float]],
        datasets: Mapping[str, Dataset],
        collate: Callable[..., Any],
        num_workers: int,
        file: str | Path,
    ) -> None:
        self.network = network
        self.score = score
        self.datasets = {name: dataset for name, dataset in datasets.items() if len(dataset)}
        self.collate = collate
        self.num_workers = num_workers
        self.file = Path(file)
        self.found: list[dict[str, Any]] = []

    def __call__(self, engine: Engine) -> None:
        """Scores all sets, prints a line for each, and writes the file anew.

        Args:
            engine: of the training; its iteration goes into the file.
        """
        step = engine.state.iteration
        training = self.network.training
        self.network.eval()
        start = time.monotonic()
        scores: dict[str, dict[str, float]] = {}
        for name, dataset in self.datasets.items():
            rows = self._rows(dataset)
            scores[name] = _means([row for _, row in rows])
            print(f"step {step}, {name}: {_line(scores[name])}", flush=True)
            for target in sorted({target for target, _ in rows}):
                scores[f"{name}/{target}"] = _means([row for one, row in rows if one == target])
        self.found.append({"step": step, "scores": scores})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        print(f"scored in {time.monotonic() - start:.0f} s", flush=True)
        self.network.train(training)

    def _rows(self, dataset: Dataset) -> list[tuple[str, dict[str, float]]]:
        rows = []
        for (item,) in DataLoader(dataset, batch_size=1, collate_fn=self.collate, num_workers=self.num_workers):
            answers = self.network.generate(item.slices, item.texts)
            for target, mask, (answer,) in zip(item.targets, item.masks.numpy(), answers, strict=True):
                rows.append((target, self.score(answer.text, mask)))
        return rows


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names} | {"n": len(rows)}


def _line(means: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" if name != "n" else f"n {value}" for name, value in means.items())

"""The engine of evaluation: all queries of a volume are answered together, with the bounds beside them."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch import nn

from .anchor import boxes_1000_to_px
from .bounds import Bounds
from .datasets.cases import failure_of
from .datasets.volume_cases import Target
from .inferer import EvidenceInferer, slices_of
from .prompt_masks import Prompt, prompt_masks, prompt_of
from .query_scores import Answer

_logger = logging.getLogger(__name__)


class VolumeEvaluator(SupervisedEvaluator):
    """Answers all queries of each volume.

    The volume is encoded once by each model, its queries are answered in one call of the language model, and equal
    prompts are propagated once. A query that fails takes no other with it.

    After an iteration `state.batch` is a list of items of `datasets.volume_cases.VolumeCaseDataset`, and `state.output`
    holds for each of them a list of `query_scores.Answer`.

    Args:
        device: images are moved to it; the network must be there.
        val_data_loader: yields lists of items.
        network: a `lvlm.VolumeLVLM`.
        inferer: its propagator and window are used for the bounds too.
        bounds: which are computed.
        seed: of sampled answers; with the volume's name it fixes them, whatever was answered before.
        val_handlers: as in MONAI; `score_recorder.ScoreRecorder` scores and writes.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Any,
        network: nn.Module,
        inferer: EvidenceInferer,
        bounds: Bounds,
        seed: int = 0,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            val_handlers=val_handlers,
            decollate=False,  # batches are lists from the start
        )
        self.bounds, self.seed = bounds, seed

    def run(self, global_epoch: int = 1) -> None:
        """Runs over what is left to do; nothing left is no error."""
        if len(self.data_loader):
            super().run(global_epoch)

    def _iteration(self, engine: Engine, batchdata: Sequence[Mapping[str, Any]]) -> list[list[Answer]]:
        engine.state.batch = list(batchdata)
        with engine.mode(engine.network):
            engine.state.output = [self._answers(item) for item in batchdata]
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _answers(self, item: Mapping[str, Any]) -> list[Answer]:
        failures = list(item["failures"])
        askable = [number for number, failure in enumerate(failures) if failure is None]
        evidence: dict[int, dict[str, Any]] = {}
        masks: dict[tuple[int, str], np.ndarray] = {}
        start = time.perf_counter()
        if askable:
            image = item["image"].as_tensor().to(self.state.device)
            self.inferer.propagator.to(image.device)
            with torch.random.fork_rng([image.device] if image.device.type == "cuda" else []):
                torch.manual_seed(zlib.crc32(f"{self.seed} {item['case']}".encode()))
                for numbers, found in self._each_or_all(partial(self._ask, image, item), askable, failures, item):
                    evidence |= dict(zip(numbers, found, strict=True))
            propagate = partial(self._masks, image, item, evidence)
            for _, found in self._each_or_all(propagate, list(evidence), failures, item):
                masks |= found
        seconds = round((time.perf_counter() - start) / len(failures), 4)
        return [
            Answer(
                evidence[number],
                None,
                masks[number, "pred"],
                {name: masks[number, name] for name in self.bounds.names if (number, name) in masks},
                seconds,
            )
            if failure is None
            else Answer(None, failure)
            for number, failure in enumerate(failures)
        ]

    @staticmethod
    def _each_or_all(
        compute: Callable[[Sequence[int]], Any], numbers: list[int], failures: list[Any], item: Mapping[str, Any]
    ) -> list[tuple[list[int], Any]]:
        """All queries at once; if that fails, one by one, so that only those fail that cannot be done."""
        try:
            return [(numbers, compute(numbers))] if numbers else []
        except Exception as error:  # whatever it is, the other queries are still to be done
            _logger.debug("volume %s: %r; its queries are tried one by one", item["case"], error)
        done = []
        for number in numbers:
            try:
                done.append(([number], compute([number])))
            except Exception as error:
                case = item["queries"][number]["case"]
                _logger.exception("case %s failed", case)
                failures[number] = failure_of(error, case)
        return done

    def _ask(self, image: torch.Tensor, item: Mapping[str, Any], numbers: Sequence[int]) -> list[dict[str, Any]]:
        return self.inferer.ask(image, [item["queries"][number]["query"] for number in numbers], self.network)

    def _masks(
        self, image: torch.Tensor, item: Mapping[str, Any], evidence: Mapping[int, Any], numbers: Sequence[int]
    ) -> dict[tuple[int, str], np.ndarray]:
        """The masks [S, H, W] of the predictions and of the bounds, by number of the query and name."""
        prompts: dict[tuple[int, str], Prompt | None] = {}
        for number in numbers:
            found = evidence[number]
            boxes = boxes_1000_to_px(found["boxes_1000"], *image.shape[2:])
            prompts[number, "pred"] = prompt_of(found["key_index"], boxes)
            target = item["targets"][number]
            if isinstance(target, Target) and target.shown is not None:
                wanted = self.bounds.prompts(item["queries"][number], target.shown, found["key_index"])
                prompts |= {(number, name): prompt for name, prompt in wanted.items()}
        found = prompt_masks(self.inferer.propagator, slices_of(image), list(prompts.values()), self.inferer.window)
        return dict(zip(prompts, found, strict=True))

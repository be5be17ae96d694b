"""The engine of evaluation: all queries of a volume are answered together, with the bounds beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch import nn

from ..datasets.volume_cases import Target
from ..errors import failure_of
from ..inferer import EvidenceInferer, evidence_prompt, slices_of
from ..prompt_masks import prompt_masks
from ..self_consistency import Decision, fixed_chance
from ..slice_prompt import SlicePrompt
from .bounds import Bounds
from .query_scores import Outcome

_logger = logging.getLogger(__name__)


class VolumeEvaluator(SupervisedEvaluator):
    """Answers all queries of each volume.

    The volume is encoded once by each model, its queries are answered together, and equal prompts are propagated once,
    those of several answers to a query (`self_consistency`) among them. A query that fails takes no other with it.

    After an iteration `state.batch` is a list of items of `datasets.volume_cases.VolumeCaseDataset`, and `state.output`
    holds for each of them a list of `query_scores.Outcome`.

    Args:
        device: images are moved to it; the network must be there.
        val_data_loader: yields lists of items.
        network: a `lvlm.VolumeLVLM`.
        inferer: its propagator and window are used for the bounds too.
        bounds: which are computed.
        seed: of sampled answers; with the volume's name it fixes them, whatever was answered before.
        val_handlers: as in MONAI; `recorder.ScoreRecorder` scores and writes.
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
        """Runs over what is left to do; it is not an error if nothing is left."""
        if len(self.data_loader):
            super().run(global_epoch)

    def _iteration(self, engine: Engine, batchdata: Sequence[Mapping[str, Any]]) -> list[list[Outcome]]:
        engine.state.batch = list(batchdata)
        with engine.mode(engine.network):
            engine.state.output = [self._outcomes(item) for item in batchdata]
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _outcomes(self, item: Mapping[str, Any]) -> list[Outcome]:
        failures = list(item["failures"])
        askable = [number for number, failure in enumerate(failures) if failure is None]
        asked: dict[int, list[dict[str, Any]]] = {}
        decided: dict[int, tuple[Decision, dict[str, np.ndarray]]] = {}
        start = time.perf_counter()
        if askable:
            image = item["image"].as_tensor().to(self.state.device)
            self.inferer.propagator.to(image.device)
            with fixed_chance(self.seed, item["case"], image.device):
                for numbers, found in self._each_or_all(partial(self._ask, image, item), askable, failures, item):
                    asked |= dict(zip(numbers, found, strict=True))
            decide = partial(self._decide, image, item, asked)
            for _, found in self._each_or_all(decide, list(asked), failures, item):
                decided |= found
        seconds = round((time.perf_counter() - start) / len(failures), 4)
        return [
            _outcome(*decided[number], seconds) if failure is None else Outcome(None, failure)
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

    def _ask(self, image: torch.Tensor, item: Mapping[str, Any], numbers: Sequence[int]) -> list[list[dict[str, Any]]]:
        return self.inferer.ask(image, [item["queries"][number]["query"] for number in numbers], self.network)

    def _decide(
        self, image: torch.Tensor, item: Mapping[str, Any], asked: Mapping[int, Any], numbers: Sequence[int]
    ) -> dict[int, tuple[Decision, dict[str, np.ndarray]]]:
        """By number of the query: what is answered, and the masks [S, H, W] of the bounds."""
        prompts: dict[tuple[int, int, str], SlicePrompt | None] = {}
        for number in numbers:
            target = item["targets"][number]
            for index, answer in enumerate(asked[number]):
                own = prompts[number, index, "pred"] = evidence_prompt(answer, *image.shape[2:])
                if isinstance(target, Target) and target.shown is not None:
                    # Which answer will be given is not known yet; equal prompts cost nothing.
                    wanted = self.bounds.prompts(item["queries"][number], target.shown, answer["key_index"], own)
                    prompts |= {(number, index, name): prompt for name, prompt in wanted.items()}
        found = prompt_masks(self.inferer.propagator, slices_of(image), list(prompts.values()), self.inferer.window)
        masks = dict(zip(prompts, found, strict=True))
        decided = {}
        for number in numbers:
            answers = [masks[number, index, "pred"] for index in range(len(asked[number]))]
            decision = self.inferer.consistency.decide(asked[number], answers)
            keys = {name: (number, decision.index, name) for name in self.bounds.names}
            decided[number] = decision, {name: masks[key].mask for name, key in keys.items() if key in masks}
        return decided


def _outcome(decision: Decision, bounds: Mapping[str, np.ndarray], seconds: float) -> Outcome:
    return Outcome(decision.evidence, None, decision.mask, bounds, seconds, decision.agreement_map)

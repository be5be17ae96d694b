"""The engine of inference: a case that fails is noted, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.transforms import Transform
from monai.utils.enums import CommonKeys
from torch import nn

from .errors import failure_of

_logger = logging.getLogger(__name__)


class EvidenceEvaluator(SupervisedEvaluator):
    """Answers one query about one volume at a time.

    After an iteration `state.output` is a list of the answered cases: their data with `pred`, post-processed.
    `state.failures` is a list of the others, each with `case`, `reason` and `message`.

    Args:
        device: images are moved to it; the network must be there.
        val_data_loader: yields lists of items of `datasets.cases.CaseDataset`.
        network: a `lvlm.VolumeLVLM`.
        inferer: an `EvidenceInferer`.
        postprocessing: of a case's data with `pred`.
        val_handlers: as in MONAI; `report.case_writer.CaseWriter` writes the results.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Any,
        network: nn.Module,
        inferer: Inferer,
        postprocessing: Transform | None = None,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            postprocessing=postprocessing,
            val_handlers=val_handlers,
            decollate=False,  # batches are lists from the start
        )
        self.state.failures = []

    def _iteration(self, engine: Engine, batchdata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Infers each case of the batch; `state.batch` and `state.output` keep the answered ones."""
        engine.state.failures = [item["failure"] for item in batchdata if "failure" in item]
        engine.state.batch, engine.state.output = [], []
        for item in batchdata:
            if "failure" in item:
                continue
            try:
                with engine.mode(engine.network):
                    image = item[CommonKeys.IMAGE].to(engine.state.device)
                    pred = engine.inferer(image[None], engine.network)[0]
            except Exception as error:  # whatever it is, the other cases are still to be done
                _logger.exception("case %s failed", item["case"])
                engine.state.failures.append(failure_of(error, item["case"]))
                continue
            engine.state.batch.append(dict(item))
            engine.state.output.append({**item, CommonKeys.PRED: pred})
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

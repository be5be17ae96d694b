"""Validation while the language model is trained: when, and what of its anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average
from ignite.metrics.metric import sync_all_reduce
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from torch import nn

from ..anchor import AnswerForm
from ..datasets.volume_queries import VolumeQueries
from ..rewards import AxialReward, FormatReward, SpatialReward


class StepValidation(ValidationHandler):
    """Handler: validates every `interval` steps, and after the last one. The validator's epoch is the step.

    Args:
        interval: steps between two validations.
        validator: runs the validation.

    Raises:
        ValueError: interval below 1.
    """

    def __init__(self, interval: int, validator: SupervisedEvaluator) -> None:
        if interval < 1:
            raise ValueError(f"The interval of validation is {interval}; give 1 step or more (key `validate_every`).")
        super().__init__(interval, validator, epoch_level=False)

    def attach(self, engine: Engine) -> None:
        """Called by the trainer."""

        def due(engine: Engine, step: int) -> bool:
            return step % self.interval == 0 or step == engine.state.max_epochs * engine.state.epoch_length

        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=due), self)

    def __call__(self, engine: Engine) -> None:
        self.validator.run(engine.state.iteration)


class AnchorEvaluator(SupervisedEvaluator):
    """Greedy completions of held-out queries, scored as anchors.

    Metrics: `format_rate` (completions that parse), `R_a` (visibility of the target on the predicted key slice, paper
    Sec. 2.5), `box_iou` (R_s's matched IoU with the true boxes of the predicted slice), both 0 for a completion that
    does not parse and over present targets only; `absent_accuracy` over absent ones.

    Args:
        device: of the network.
        val_data_loader: yields lists of `VolumeQueries`; those of a list are decoded together.
        network: a `VolumeLVLM`.
        val_handlers: as in MONAI.
        answer_form: of the answers.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Any,
        network: nn.Module,
        val_handlers: Sequence[Any] | None = None,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            key_val_metric={"box_iou": _average_of("box_iou")},
            additional_metrics={name: _average_of(name) for name in ("format_rate", "R_a", "absent_accuracy")},
            val_handlers=val_handlers,
            decollate=False,
        )
        self.answer_form = answer_form

    def _iteration(self, engine: Engine, batchdata: Sequence[VolumeQueries]) -> dict[str, Any]:
        """Completions and scores of one batch."""
        self.network.eval()
        scores: dict[str, list[float]] = {"format_rate": [], "R_a": [], "box_iou": [], "absent_accuracy": []}
        slices = [item.slices.to(self.state.device) for item in batchdata]
        by_volume = self.network.generate_many(slices, [item.texts for item in batchdata])
        for item, completions in zip(batchdata, by_volume, strict=True):
            for (completion,), mask in zip(completions, item.masks, strict=True):
                for name, value in score_anchor(completion.text, mask.numpy(), self.answer_form).items():
                    scores[name].append(value)
        engine.state.output = scores
        return scores


def score_anchor(text: str, mask: Any, answer_form: AnswerForm = "boxes") -> dict[str, float]:
    """Scores of one completion, each in 0..1.

    Args:
        text: the completion.
        mask: bool array [S, H, W] of the target on the shown slices.
        answer_form: of the answer.

    Returns:
        `format_rate` and, for a present target, `R_a` and `box_iou`, else `absent_accuracy`.
    """
    answer = {"completions": [text], "masks": [mask]}
    form, axial, spatial = (reward(answer_form) for reward in (FormatReward, AxialReward, SpatialReward))
    scores = {"format_rate": form(**answer)[0]}
    if not mask.any():
        return scores | {"absent_accuracy": axial(**answer)[0]}
    return scores | {"R_a": axial(**answer)[0], "box_iou": spatial(**answer)[0]}


def _average_of(name: str) -> Average:
    def column(output: dict[str, list[float]]) -> torch.Tensor:
        return torch.tensor(output[name], dtype=torch.float64)[:, None]

    return _AverageOfMany(output_transform=column)


class _AverageOfMany(Average):
    """Ignite's mean over the rows [n, 1] of each output; an output may have none, and no row at all gives NaN."""

    def update(self, output: torch.Tensor) -> None:
        if len(output):
            super().update(output)

    @sync_all_reduce("accumulator", "num_examples")
    def compute(self) -> float:
        return float(self.accumulator / self.num_examples) if self.num_examples else float("nan")

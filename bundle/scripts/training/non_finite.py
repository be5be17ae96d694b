"""A gradient that is not a number ends a run before the step that would spoil the weights."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents


class StopAtNonFinite:
    """Handler: better no step than one that cannot be undone.

    Looks at the gradients between the backward pass and the optimizer's step; for engines that fire
    `IterationEvents.BACKWARD_COMPLETED` there, as MONAI's do.

    Raises:
        FloatingPointError: in a run, a gradient that is infinite or not a number; the weights are as they were before.
    """

    def attach(self, engine: Engine) -> None:
        """Called by the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        gradients = {name: weight.grad for name, weight in engine.network.named_parameters() if weight.grad is not None}
        if not gradients:
            return
        norms = torch.stack([gradient.norm() for gradient in gradients.values()])  # looked at once, not one by one
        bad = [name for name, finite in zip(gradients, norms.isfinite().tolist(), strict=True) if not finite]
        if bad:
            step = engine.state.iteration
            raise FloatingPointError(
                f"Step {step}: the gradient is non-finite in {len(bad)} of {len(gradients)} weights, first in {bad[0]}."
                " The step was not made. Lower the learning rate and give the command again: it goes on from the last "
                "checkpoint, whose weights are finite."
            )

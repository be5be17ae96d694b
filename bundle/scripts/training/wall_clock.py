"""Training for a given time: the learning rate reaches zero when the time is up, however many steps that makes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from ignite.engine import Engine, Events


class WallClockSchedule:
    """Linear warm-up and then a cosine to zero, over minutes instead of steps; ends the run when they are over.

    Args:
        optimizer: its rates are the highest ones.
        minutes: of the whole run, from its start on.
        warmup_ratio: share of them for the warm-up.
        halfway: called once with the engine, between two iterations, when half of them are over.
        clock: gives seconds.

    Raises:
        ValueError: no time, or a warm-up that leaves none.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        minutes: float,
        warmup_ratio: float = 0.03,
        halfway: Callable[[Engine], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if minutes <= 0 or not 0 <= warmup_ratio < 1:
            raise ValueError(f"Need minutes > 0 and 0 <= warmup_ratio < 1, got {minutes} and {warmup_ratio}.")
        self.optimizer = optimizer
        self.highest = [group["lr"] for group in optimizer.param_groups]
        self.seconds = 60.0 * minutes
        self.warmup_ratio = warmup_ratio
        self.halfway = halfway
        self.clock = clock
        self.started = clock()

    @property
    def progress(self) -> float:
        """Share of the time that is over, 0 to 1."""
        return min(1.0, (self.clock() - self.started) / self.seconds)

    def attach(self, engine: Engine) -> None:
        """Sets the rates before each iteration, tells of half the time, and ends the run."""
        ahead = [self.halfway] if self.halfway else []

        def start() -> None:
            self.started = self.clock()

        def step() -> None:
            factor = self._factor(self.progress)
            for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
                group["lr"] = highest * factor

        def look() -> None:
            progress = self.progress
            if progress >= 0.5 and ahead:
                ahead.pop()(engine)
            if progress >= 1.0:
                engine.terminate()

        engine.add_event_handler(Events.STARTED, start)
        engine.add_event_handler(Events.ITERATION_STARTED, step)
        engine.add_event_handler(Events.ITERATION_COMPLETED, look)

    def _factor(self, progress: float) -> float:
        if progress < self.warmup_ratio:
            return progress / self.warmup_ratio
        return 0.5 + 0.5 * math.cos(math.pi * (progress - self.warmup_ratio) / (1.0 - self.warmup_ratio))

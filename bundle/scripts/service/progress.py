"""How far a request has come, and whether anybody still wants it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

STAGES = ("encoding", "writing", "propagating")


class Cancelled(Exception):
    """Nobody wants the result any more."""


@dataclass(eq=False)
class Progress:
    """Written by the thread that computes, read by others.

    Args:
        stage: one of STAGES; None: nothing has begun.
        written: what the language model has written so far.
        slices: decided by the propagator, and how many there are; each box counts its own.
    """

    stage: str | None = None
    written: str = ""
    slices: tuple[int, int] = (0, 0)
    _cancelled: Event = field(default_factory=Event, repr=False)

    def cancel(self) -> None:
        """Makes the next `check` raise."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """To be called wherever work can stop.

        Raises:
            Cancelled: after `cancel`.
        """
        if self._cancelled.is_set():
            raise Cancelled

    def begin(self, stage: str, slices: int = 0) -> None:
        """A stage begins; so many slices are to be propagated in it."""
        self.check()
        self.stage, self.slices = stage, (0, slices)

    def write(self, text: str) -> None:
        """A token was written."""
        self.check()
        self.written = text

    def propagate(self, slices: int) -> None:
        """So many more slices were decided."""
        self.check()
        self.slices = (self.slices[0] + slices, self.slices[1])

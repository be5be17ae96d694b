"""Stopping a run at a signal, and going on as if it had never stopped."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver


def replaced_checkpoint(folder: str | Path, to_save: Mapping[str, Any]) -> Checkpoint:
    """Ignite's handler with one file, `checkpoint.pt`, that is always whole: a run that is killed while it writes goes
    on from the one before.

    Args:
        folder: made when absent.
        to_save: name to what has a `state_dict`: all that a resumed run needs.
    """
    saver = DiskSaver(str(folder), require_empty=False)  # writes beside the old file, then renames
    return Checkpoint(
        to_save,
        saver.__call__,  # of a DiskSaver itself it would delete the old file before the new one is written
        filename_pattern="checkpoint.pt",
        global_step_transform=lambda engine, event: engine.state.iteration,
    )


class RandomStates:
    """The states of all random generators, as something that a checkpoint can hold.

    Args:
        generator: one more than Python's, NumPy's and PyTorch's global ones: that of the rollouts.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors, so that `torch.load(weights_only=True)` reads them."""
        name, keys, *rest = np.random.get_state()
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts the states back; those of CUDA devices only where there are as many."""
        random.setstate(state["python"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"].cpu())
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
        self.generator.set_state(state["generator"].cpu())


class StopAtSigterm:
    """Handler: on SIGTERM finish the iteration, write a checkpoint and stop.

    SIGTERM is what a scheduler sends some time before it kills a job. Between two iterations everything is in place:
    the update is made, the schedule has moved on. A second SIGTERM ends the process at once.

    Args:
        save: writes the checkpoint; called with the engine.
    """

    def __init__(self, save: Callable[[Engine], Any]) -> None:
        self.save = save
        self.stopped = False
        self._received = False
        self._before: Any = None

    def attach(self, engine: Engine) -> None:
        """Listens from the start of a run to its end."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._leave)

    def exit_if_stopped(self) -> None:
        """Ends the program if the run was stopped, so that what follows a finished run is not done.

        Raises:
            SystemExit: with 128 + 15, as a shell reports SIGTERM.
        """
        if self.stopped:
            raise SystemExit(128 + signal.SIGTERM)

    def _listen(self, engine: Engine) -> None:
        self.stopped = self._received = False
        if threading.current_thread() is threading.main_thread():  # Python allows no other to listen
            self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        self._leave()

    def _stop(self, engine: Engine) -> None:
        if self._received:
            self.save(engine)
            self.stopped = True
            engine.terminate()

    def _leave(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

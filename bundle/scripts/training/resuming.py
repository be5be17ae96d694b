"""Ending a training run at any time, and going on as if it had never ended."""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.engines import Trainer
from torch.distributed.elastic.multiprocessing.errors import record
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler

from .distributed import start_alike
from .trainable import TrainableWeights

_CHECKPOINT = "checkpoint.pt"


class ResumableRun:
    """A training run that goes on, at the same command, from where it was stopped or killed; bit for bit on a CPU.

    `checkpoint.pt` holds what was learned and how far the run was: trained weights, the optimizer's moments, random
    states, the number of steps. Everything else is the command's: rates, weight decay, the length of the run. Other
    values than before hold from the next step on, and a run that is long enough has nothing more to do.

    Of several processes the first one writes, and all read, so they need one folder. Begun again with another number of
    them, a run goes on as well, but for what random generators draw (dropout).

    Args:
        trainer: ends after `max_epochs * epoch_length` iterations; its `network` and `optimizer` are resumed.
        lr_scheduler: a function of the step; moved on by a handler of the trainer.
        folder: of the checkpoint; made when absent.
        every: iterations between two checkpoints; the last one is written as well.
        update_every: iterations of an update; inside of one nothing is saved, since gradients are not.
        generator: one random generator more than the global ones: that of the rollouts.
        parts: what else has a state, by name.

    Raises:
        ValueError: every below 1; in a run, a checkpoint that does not fit what is trained, or that only some of the
            processes found.
        FloatingPointError: in a run, weights that are not finite; the last good checkpoint stays.
        SystemExit: a run that was stopped by SIGTERM, with 128 + 15, so that what follows a finished run is not done.
    """

    def __init__(
        self,
        trainer: Trainer,
        lr_scheduler: LambdaLR,
        folder: str | Path,
        every: int,
        update_every: int = 1,
        generator: torch.Generator | None = None,
        parts: Mapping[str, Any] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"A checkpoint every {every} steps; give 1 or more (config key `checkpoint_every`).")
        self.trainer, self.lr_scheduler, self.folder = trainer, lr_scheduler, Path(folder)
        self.every, self.update_every = every, update_every
        self.weights = TrainableWeights(trainer.network)
        self.parts = {
            "trainer": trainer,
            "network": self.weights,
            "optimizer": trainer.optimizer,
            "lr_scheduler": lr_scheduler,
            "random": RandomStates(generator),
            **(parts or {}),
        }

    @record  # for torchrun: what ended the process that failed first stands in its summary
    def run(self) -> None:
        """Trains from the checkpoint, or from the start, to the end."""
        self._resume()
        state = self.trainer.state
        if idist.all_reduce(state.iteration, "MIN") < state.iteration:
            raise ValueError(
                f"This process goes on from step {state.iteration} of {self.folder}, and another one does not: all "
                "processes need the same folder (config key `output_dir`)."
            )
        start_alike(self.weights.state_dict().values())
        length = state.max_epochs * state.epoch_length
        if state.iteration >= length:
            logging.getLogger(__name__).info(
                "Nothing to do: %d steps are made, and the run has %d.", state.iteration, length
            )
            return
        checkpoint = replaced_checkpoint(self.folder, self.parts)

        def save(engine: Engine) -> None:
            bad = self.weights.first_not_finite()
            if bad is not None:
                raise FloatingPointError(
                    f"After step {engine.state.iteration} {bad} is not finite, so no checkpoint was written. Lower the "
                    "learning rate and give the command again: it goes on from the last checkpoint."
                )
            checkpoint(engine)
            idist.barrier()  # no process ends, and with it the others, before the file is whole

        def due(engine: Engine, step: int) -> bool:
            return step == length or (step % self.every == 0 and step % self.update_every == 0)

        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(event_filter=due), save)
        stop = StopAtSigterm(save, self.update_every)
        stop.attach(self.trainer)
        self.trainer.run()
        stop.exit_if_stopped()

    def _resume(self) -> None:
        file = self.folder / _CHECKPOINT
        if not file.is_file():
            return
        saved = torch.load(file, map_location=self.trainer.state.device, weights_only=True)
        if saved.keys() != self.parts.keys():
            raise ValueError(
                f"{file} holds {sorted(saved)}, this run needs {sorted(self.parts)}: it is of another kind of run; "
                "give another `output_dir`."
            )
        for name, part in self.parts.items():
            if name not in ("trainer", "optimizer", "lr_scheduler"):
                part.load_state_dict(saved[name])
        load_moments(self.trainer.optimizer, saved["optimizer"])
        steps, state = saved["trainer"]["iteration"], self.trainer.state
        own = {"epoch_length": state.epoch_length, "max_epochs": state.max_epochs}
        self.trainer.load_state_dict({"iteration": steps, **own})
        set_schedule(self.lr_scheduler, steps)
        logging.getLogger(__name__).info("Going on from step %d of %s.", steps, file)


def load_moments(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """What an optimizer has gathered, from its saved state; rates, decay and betas stay its own."""
    optimizer.load_state_dict({"state": saved["state"], "param_groups": optimizer.state_dict()["param_groups"]})


def set_schedule(lr_scheduler: LambdaLR, steps: int) -> None:
    """Moves a schedule to where it is after some steps; how long it is and how high stay its own."""
    rates = [rate * factor(steps) for rate, factor in zip(lr_scheduler.base_lrs, lr_scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(lr_scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    there = {"last_epoch": steps, "_step_count": steps + 1, "_last_lr": rates}
    lr_scheduler.load_state_dict(lr_scheduler.state_dict() | there)


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
        filename_pattern=_CHECKPOINT,
        global_step_transform=lambda engine, event: engine.state.iteration,
    )


class RandomStates:
    """The states of all random generators, of every process, as something that a checkpoint can hold.

    Args:
        generator: one more than Python's, NumPy's and PyTorch's global ones; None for none.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors, so that `torch.load(weights_only=True)` reads them."""
        name, keys, *rest = np.random.get_state()
        own = {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generator": None if self.generator is None else self.generator.get_state(),
        }
        return own if idist.get_world_size() == 1 else {"processes": idist.all_gather(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts the states back; those of CUDA devices only where there are as many, and none of other processes."""
        states = state.get("processes", [state])
        if len(states) != idist.get_world_size():
            logging.getLogger(__name__).warning(
                "The checkpoint is of a run in %d processes, this one has %d: random generators begin anew.",
                *(len(states), idist.get_world_size()),
            )
            return
        state = states[idist.get_rank()]
        random.setstate(state["python"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"].cpu())
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())


class StopAtSigterm:
    """Handler: on SIGTERM finish the update, write a checkpoint and stop, with all processes when one was told to.

    SIGTERM is what a scheduler sends some time before it kills a job. Between two updates everything is in place: the
    weights are new, the schedule has moved on. A second SIGTERM ends the process at once.

    Args:
        save: writes the checkpoint; called with the engine.
        update_every: iterations of an update.
    """

    def __init__(self, save: Callable[[Engine], Any], update_every: int = 1) -> None:
        self.save, self.update_every = save, update_every
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
        if engine.state.iteration % self.update_every == 0 and idist.all_reduce(int(self._received), "MAX"):
            self.save(engine)
            self.stopped = True
            engine.terminate()

    def _leave(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


class ResumableSampler(Sampler[list[int]]):
    """The batches of a data set, as lists of indices, in a fixed random order of each pass, from any batch on.

    Each of several processes gets its share of every batch: the batches are those of one process, and when they do not
    divide, some shares are larger by one. So a share of a short last batch may be empty.

    Args:
        num_items: length of the data set.
        batch_size: items of a batch, of all processes together; the last batch of a pass is shorter when they do not
            divide.
        seed: of the order.

    Raises:
        ValueError: nothing to train on, a batch_size below 1, or less than one item of a batch for each process.
    """

    def __init__(self, num_items: int, batch_size: int, seed: int = 0) -> None:
        if num_items < 1:
            raise ValueError(f"Nothing to train on: the data set has {num_items} items.")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 item or more.")
        self.rank, self.processes = idist.get_rank(), idist.get_world_size()
        if batch_size < self.processes:
            raise ValueError(
                f"batch_size is {batch_size} for {self.processes} processes, which share a batch; give 1 item or more "
                "for each."
            )
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self._passes = self._first = 0

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self._passes)
        order = torch.randperm(self.num_items, generator=generator).tolist()
        starts = range(self._first * self.batch_size, self.num_items, self.batch_size)
        self._passes, self._first = self._passes + 1, 0
        return iter([order[start : start + self.batch_size][self.rank :: self.processes] for start in starts])

    def __len__(self) -> int:
        return self._batches_a_pass - self._first

    @property
    def _batches_a_pass(self) -> int:
        return -(-self.num_items // self.batch_size)

    def attach(self, engine: Engine) -> None:
        """Lets a resumed engine start behind the batches that it has already seen."""

        def skip_seen() -> None:
            self._passes, self._first = divmod(engine.state.iteration, self._batches_a_pass)

        engine.add_event_handler(Events.STARTED, skip_seen)

"""Several processes that train one model together, or share the cases of an evaluation: one for each GPU.

Each takes its share of every batch. Losses are divided by what all of them have (sequences, tokens), gradients are
added up once an update, and so all make the same step, that of one process with the whole batch. There are no hooks in
the network: a weight that a process did not use is no trouble.

In one process nothing here does anything.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Subset


class Process(NamedTuple):
    """One of the processes of a run.

    Args:
        rank: 0 is the one that writes files and prints.
        size: number of processes.
        device: name of its device, see `device.select_device`.
    """

    rank: int
    size: int
    device: str


def require_single_process(device: str = "auto") -> Process:
    """Refuses to run in one of several processes, as torchrun and accelerate start them.

    Without gradients in common each would train alike by itself, and all would write the same files.

    Args:
        device: as the config says.

    Raises:
        ValueError: WORLD_SIZE is above 1.
    """
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        raise ValueError(
            f"WORLD_SIZE is {processes}: each process would do the same by itself, and all would write one folder. Put "
            "bundle/configs/multi_gpu.json behind train.json, train_grpo.json, train_propagator.json or evaluate.json, "
            "or start it without torchrun or accelerate."
        )
    return Process(0, 1, device)


def join_processes(device: str = "auto", timeout_minutes: float = 30.0) -> Process:
    """Joins the processes that torchrun started, by NCCL on GPUs and by gloo on a CPU; without torchrun it is alone.

    Args:
        device: `auto`, `cuda` (each process takes the GPU of its number on this machine) or `cpu`.
        timeout_minutes: how long a process waits for another one before it ends with an error.

    Raises:
        ValueError: another device, more processes on this machine than it has GPUs, or no time to wait.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return Process(0, 1, device)
    if device not in ("auto", "cuda", "cpu"):
        raise ValueError(f"`device` is {device!r}; {size} processes take one each: give auto, cuda or cpu.")
    if timeout_minutes <= 0:
        raise ValueError(f"`timeout_minutes` is {timeout_minutes}; give more than 0.")
    on_gpus = device == "cuda" or device == "auto" and torch.cuda.is_available()
    local_rank = int(os.environ["LOCAL_RANK"])
    if on_gpus and local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"Process {local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}. Give torchrun "
            f"--nproc_per_node {max(1, torch.cuda.device_count())}, or --device cpu."
        )
    idist.initialize("nccl" if on_gpus else "gloo", timeout=timedelta(minutes=timeout_minutes))
    atexit.register(idist.finalize)
    rank = idist.get_rank()
    if rank > 0:
        logging.getLogger().setLevel(logging.WARNING)  # what all have to tell, the first one tells
    return Process(rank, size, f"cuda:{local_rank}" if on_gpus else "cpu")


def share_of(items: Sequence[Any]) -> Sequence[Any]:
    """What this process takes of a list or a data set: every n-th item, n being the number of processes.

    Raises:
        ValueError: fewer items than processes.
    """
    rank, size = idist.get_rank(), idist.get_world_size()
    if size == 1:
        return items
    if len(items) < size:
        raise ValueError(f"There are {len(items)} items for {size} processes; give each one at least, or use fewer.")
    return items[rank::size] if isinstance(items, list) else Subset(items, range(rank, len(items), size))


def add_up_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Gives each weight the sum of its gradients in all processes; one that none of them used keeps none."""
    if idist.get_world_size() == 1:
        return
    weights = [weight for weight in weights if weight.requires_grad]
    is_used = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
    used = [weight for weight, its in zip(weights, idist.all_reduce(is_used, "MAX").tolist(), strict=True) if its]
    for weight in used:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for work in [dist.all_reduce(weight.grad, async_op=True) for weight in used]:
        work.wait()


def start_alike(weights: Iterable[Tensor]) -> None:
    """Gives the weights of the first process to all."""
    if idist.get_world_size() > 1:
        for weight in weights:
            dist.broadcast(weight, src=0)

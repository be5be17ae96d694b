"""A token as one CUDA graph: capturing it, and what makes it shorter.

On a GPU a token of a small batch is some thousand small kernels, and launching them one by one from Python takes many
times longer than reading the weights once. A graph launches them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture import QwenVL


def has_graphs(device: torch.device) -> bool:
    """Whether a device replays CUDA graphs."""
    return device.type == "cuda"


def rows_of_graph(count: int) -> int:
    """The next power of two: so few graphs serve all numbers of sequences."""
    return 1 << max(0, count - 1).bit_length()


def captured(rehearse: Callable[[], None], advance: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of what `advance` launches. Libraries set themselves up in two rehearsals; a graph cannot hold that."""
    kind = torch.get_autocast_dtype("cuda")
    # Weights that autocast converted would be kept beyond the graph's reach, and go stale in training.
    with torch.autocast("cuda", kind, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                rehearse()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Only this thread: others, those of data loaders, may go on with the device.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            advance()
    return graph


@contextmanager
def fused_norms(network: QwenVL) -> Iterator[None]:
    """Inside, each norm of the language model is torch's one kernel; transformers' eight are a third of a token's."""
    kind = type(network.model.language_model.norm)
    norms = [module for module in network.modules() if isinstance(module, kind)]
    for norm in norms:
        norm.forward = partial(_fused_norm, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _fused_norm(norm: nn.Module, hidden: Tensor) -> Tensor:
    if hidden.dtype != norm.weight.dtype:  # under autocast; torch has no kernel for two types
        return type(norm).forward(norm, hidden)
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)

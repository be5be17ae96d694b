"""Whether a network is still the one that computed something, or that a CUDA graph was captured from."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def where_weights_are(network: nn.Module) -> Hashable:
    """Changes when weights are moved or replaced, adapters come, go or are switched, or autocast is another.

    Training, which changes weights in place, leaves it as it is.
    """
    adapters = tuple(
        (module.disable_adapters, tuple(module.active_adapters), tuple(module.merged_adapters))
        for module in network.modules()
        if isinstance(module, BaseTunerLayer)
    )
    kind = next(network.parameters()).device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return tuple(weight.data_ptr() for weight in network.parameters()), adapters, autocast


def is_trained(network: nn.Module) -> bool:
    """Whether weights may change. Not every optimizer counts its changes (fused ones do not): nothing is kept then."""
    return any(weight.requires_grad for weight in network.parameters())


def what_weights_are(network: nn.Module) -> Hashable:
    """Changes also when weights are changed in place: what the network computes then is something else."""
    # A tensor of inference mode counts no changes; it cannot be trained either.
    versions = tuple(-1 if weight.is_inference() else weight._version for weight in network.parameters())
    return where_weights_are(network), versions

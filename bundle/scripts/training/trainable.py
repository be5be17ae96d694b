"""Which weights are trained, and they alone as something that a checkpoint can hold."""

from __future__ import annotations

import torch
from torch import nn

from ..lvlm.model import VolumeLVLM


def make_trainable(network: VolumeLVLM, lora_rank: int, gradient_checkpointing: bool) -> VolumeLVLM:
    """The network with a LoRA adapter on frozen weights, or all of it trainable.

    Args:
        network: loads its weights now.
        lora_rank: of the adapter, with alpha twice the rank; 0 trains every weight.
        gradient_checkpointing: recompute activations in the backward pass, for less memory.

    Raises:
        ValueError: every weight is to be trained and they are kept in half precision. A usual update is smaller than
            the distance between two bfloat16 numbers, so most weights would never move; an adapter's are float32.
    """
    if not lora_rank and network.dtype != torch.float32:
        name = str(network.dtype).removeprefix("torch.")
        raise ValueError(
            f"`dtype` is {name} and `lora_rank` 0: weights kept in {name} are too coarse to add up small updates. Give "
            "`dtype` float32 (`bf16` computes in bfloat16 all the same), or a `lora_rank` above 0."
        )
    network = network.add_lora(rank=lora_rank, alpha=2 * lora_rank) if lora_rank else network.unfreeze()
    if gradient_checkpointing:
        network.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return network


class TrainableWeights:
    """The weights that are trained, as something that a checkpoint can hold; a frozen 4B base is not saved each time.

    Args:
        network: any module.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Name to tensor of the weights that require a gradient."""
        return {name: weight.detach() for name, weight in self.network.named_parameters() if weight.requires_grad}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors back.

        Raises:
            ValueError: the checkpoint was made with other trainable weights, or with some of another shape.
        """
        own = self.state_dict()
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())
            raise ValueError(
                f"The checkpoint holds other weights than this run trains: {odd[0]} and {len(odd) - 1} more; give "
                "the settings of the run that wrote it (`lora_rank`, the model), or another `output_dir`."
            )
        for name, weight in own.items():
            if weight.shape != state[name].shape:
                raise ValueError(
                    f"{name} is {list(state[name].shape)} in the checkpoint and {list(weight.shape)} in this run; give "
                    "the settings of the run that wrote it (`lora_rank`, the model), or another `output_dir`."
                )
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(state[name])

    def first_not_finite(self) -> str | None:
        """The name of a weight that holds an infinite number or none at all; None when all are well."""
        for name, weight in self.state_dict().items():
            if not weight.isfinite().all():
                return name
        return None

"""The frozen policy that the KL term of GRPO holds on to (paper, Sec. 2.2): the one that training starts from.

It is the policy after SFT, not the base model. A checkpoint that is resumed from changes the policy, never this.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from ..lvlm.encoded_volume import EncodedVolume
from ..lvlm.model import VolumeLVLM


class ReferencePolicy:
    """The network as it is when this is made.

    With a LoRA adapter it is the weights below the adapter and costs no memory: a new adapter changes nothing, and an
    adapter of SFT was merged when the weights were read (`VolumeLVLM(adapter=...)`). Else it is a frozen copy.

    Args:
        network: what will be trained, before its first step.

    Raises:
        ValueError: the adapter is not new: then the weights below it are not what training starts from.
    """

    def __init__(self, network: VolumeLVLM) -> None:
        self._below_adapter = hasattr(network.load().qwen, "disable_adapter")
        if self._below_adapter:
            changed = [name for name, weight in network.named_parameters() if "lora_B" in name and weight.any()]
            if changed:
                raise ValueError(
                    f"The adapter on the policy is not new ({changed[0]}); give the adapter of SFT as `lvlm_adapter`, "
                    "so that it is merged, and train another one on top."
                )
            self._network = network
        else:
            self._network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def encode(self, slices: torch.Tensor, volume: EncodedVolume) -> EncodedVolume:
        """The prefix of a volume as the reference sees it.

        Args:
            slices: see `VolumeLVLM.encode`.
            volume: what the policy sees; below an adapter on the language model it is the same.
        """
        return volume if self._below_adapter else self._network.encode(slices)

    @torch.no_grad()
    def log_probs(
        self, volume: EncodedVolume, queries: Sequence[str], completions: Sequence[Sequence[torch.Tensor]]
    ) -> list[list[torch.Tensor]]:
        """Token log-probabilities of completions; see `VolumeLVLM.log_probs`.

        Args:
            volume: from this class's `encode`.
            queries: K texts.
            completions: for each query its completions' ids.
        """
        self._network.eval()
        with self._network.qwen.disable_adapter() if self._below_adapter else nullcontext():
            return self._network.log_probs(volume, queries, completions)

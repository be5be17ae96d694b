"""A volume as the language model reads it: the prompt prefix with its vision features, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from .network_state import is_trained, what_weights_are
from .split_attention import BranchMask, LayerPrefix


@dataclass
class KeptPrefix:
    """Keys and values of a prefix, kept for the next queries about its volume; see `prefilled`.

    Args:
        network: the state of the network that computed them.
        layers: of each layer.
    """

    network: Hashable = None
    layers: tuple[LayerPrefix, ...] = ()


@dataclass(frozen=True)
class EncodedVolume:
    """The prompt prefix of a volume, with its vision features, computed once.

    Args:
        prefix_ids: int64 [P].
        position_ids: int64 [3, P], M-RoPE positions.
        visual_mask: bool [P], True at visual tokens.
        visual_embeds: [V, hidden], what stands at the visual tokens.
        deepstack: a tensor [V, hidden] for each early layer that they are added behind.
        num_slices: S.
        grid: int64 [S, 3], patches of each slice along time, rows and columns, as transformers counts positions.
        kept: its keys and values, from the first query on.
    """

    prefix_ids: torch.Tensor
    position_ids: torch.Tensor
    visual_mask: torch.Tensor
    visual_embeds: torch.Tensor
    deepstack: tuple[torch.Tensor, ...]
    num_slices: int
    grid: torch.Tensor
    kept: KeptPrefix = field(default_factory=KeptPrefix, repr=False, compare=False)


class LastVolume:
    """The volume that was encoded last: consecutive cases often ask about one image."""

    def __init__(self) -> None:
        self._network: Hashable = None
        self._slices = torch.empty(0)
        self._volume: EncodedVolume | None = None

    def get(self, network: Hashable, slices: torch.Tensor, encode: Callable[[], EncodedVolume]) -> EncodedVolume:
        """That of these slices and this state of the network, or a new one in its place."""
        same = self._volume is not None and self._network == network and self._slices.device == slices.device
        if not same or not torch.equal(self._slices, slices):
            self._volume = None  # its memory is free before the next one is made
            self._volume = encode()
            self._network, self._slices = network, slices.clone()
        return self._volume


@torch.no_grad()
def prefilled(base: Qwen3VLForConditionalGeneration, volume: EncodedVolume) -> tuple[LayerPrefix, ...]:
    """Keys and values of a volume's prefix in each layer; computed again only if the network has changed since.

    A network in training keeps none: its next queries come with other weights, and keys and values are large.

    Args:
        base: the network, without dropout.
        volume: keeps them.
    """
    network = what_weights_are(base)
    if volume.kept.network == network:
        return volume.kept.layers
    cache = DynamicCache(config=base.config.get_text_config())
    hidden_states(base, volume.prefix_ids[None], volume.position_ids[:, None], volume=volume, cache=cache)
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    if not is_trained(base):
        volume.kept.network, volume.kept.layers = network, layers
    return layers


def hidden_states(
    base: Qwen3VLForConditionalGeneration,
    ids: torch.Tensor,
    position_ids: torch.Tensor,
    *,
    volume: EncodedVolume | None = None,
    attention_mask: torch.Tensor | None = None,
    cache: DynamicCache | None = None,
    branches: BranchMask | None = None,
    prefix: Sequence[LayerPrefix] | None = None,
) -> torch.Tensor:
    """What the language model makes of tokens, before the head.

    Args:
        base: the network.
        ids: int64 [B, T].
        position_ids: int64 [3, B, T].
        volume: whose prefix the ids begin with; None when they stand behind a prefix that is elsewhere.
        attention_mask: bool [B, 1, T, n]; None for causal attention.
        cache: of keys and values, in front of the ids; they are added to it.
        branches: see `split_attention`.
        prefix: see `split_attention`.

    Returns:
        [B, T, hidden].
    """
    embeds = base.get_input_embeddings()(ids)
    visual: dict[str, object] = {}
    if volume is not None:
        mask = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        mask[:, : len(volume.visual_mask)] = volume.visual_mask
        embeds = embeds.masked_scatter(mask[..., None], volume.visual_embeds.to(embeds.dtype))
        visual = {"visual_pos_masks": mask, "deepstack_visual_embeds": list(volume.deepstack)}
    # Positions are always given: the network's own bookkeeping of them (rope_deltas) is state of the last call.
    return base.model.language_model(
        inputs_embeds=embeds,
        position_ids=position_ids,
        attention_mask=attention_mask,
        past_key_values=cache,
        use_cache=cache is not None,
        branches=branches,
        prefix=prefix,
        **visual,
    ).last_hidden_state

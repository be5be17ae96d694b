"""A volume as the language model reads it: the prompt prefix with its vision features, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from .architecture import QwenVL, pixel_statistics
from .network_state import is_trained, what_weights_are
from .prompts import PromptBuilder
from .split_attention import BranchMask, LayerPrefix
from .vision import resized, slices_to_patches, three_channels


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
        deepstack: a tensor [V, hidden] for each early layer that they are added behind; none in a Qwen2.5-VL.
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


class VolumeEncoder:
    """Encodes volumes with the vision tower, and keeps the prompt prefixes of the sizes that it has seen.

    Args:
        prompts: of the network that it is called with.
        slice_size: side in pixels that slices are resized to; None takes them as they come.
    """

    def __init__(self, prompts: PromptBuilder, slice_size: int | None = None) -> None:
        self.prompts = prompts
        self.slice_size = slice_size
        self._prefixes: dict[tuple[int, int, int, str], dict[str, torch.Tensor]] = {}

    def __call__(self, base: QwenVL, volumes: Sequence[torch.Tensor]) -> list[EncodedVolume]:
        """Vision features and prefix of each volume, in one call of the vision tower.

        Args:
            base: the network; its device is where all happens.
            volumes: slices float [S, H, W] or [S, 1 or 3, H, W] in 0..1 each; their numbers may differ, their sizes
                may not.

        Raises:
            ValueError: another shape, slices of several sizes, sides that do not divide into visual tokens, or three
                channels for a model that makes its own (see `vision.stretched_channels`).
        """
        vision = base.config.vision_config
        channel_ranges = getattr(vision, "channel_ranges", None)
        slices = [self._as_rgb(volume, channel_ranges).to(base.device) for volume in volumes]
        shown = {tuple(one.shape[2:]) for one in slices}
        if len(shown) != 1:
            raise ValueError(f"Volumes that are encoded together need slices of one size, got {sorted(shown)}.")
        counts = [len(one) for one in slices]
        rows, columns = (side // vision.patch_size for side in slices[0].shape[2:])
        sizes = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        pixels = slices_to_patches(torch.cat(slices), *sizes, pixel_statistics(vision))
        # Frames of one clip are to the tower what images are, but for a loop over the images in Python.
        clip = torch.tensor([[sum(counts), rows, columns]], device=base.device)
        features = base.model.visual(pixels.to(base.dtype), grid_thw=clip, return_dict=True)
        tokens_per_slice = rows * columns // vision.spatial_merge_size**2
        shares = [count * tokens_per_slice for count in counts]
        embeds = features.pooler_output.split(shares)
        early = [feature.split(shares) for feature in getattr(features, "deepstack_features", ())]
        return [
            EncodedVolume(
                visual_embeds=embeds[number],
                deepstack=tuple(of_layer[number] for of_layer in early),
                num_slices=count,
                **self._prefix(base, count, rows, columns),
            )
            for number, count in enumerate(counts)
        ]

    def _as_rgb(self, slices: torch.Tensor, channel_ranges: Sequence[Sequence[float]] | None) -> torch.Tensor:
        """[S, H, W] or [S, 1 or 3, H, W] to float [S, 3, H, W] of the size that the model reads."""
        if slices.ndim == 3:
            slices = slices[:, None]
        if slices.ndim != 4 or slices.shape[1] not in (1, 3) or len(slices) == 0:
            raise ValueError(f"Slices must have the shape [S, H, W] or [S, 3, H, W], got {list(slices.shape)}.")
        # A MetaTensor would carry the volume's meta data through the whole network.
        slices = slices.as_tensor() if hasattr(slices, "as_tensor") else slices
        slices = slices.float()
        if self.slice_size is not None:
            slices = resized(slices, self.slice_size)
        return three_channels(slices, channel_ranges)

    def _prefix(self, base: QwenVL, num_slices: int, rows: int, columns: int) -> dict[str, torch.Tensor]:
        """What of an `EncodedVolume` depends on the volume's size alone, by name; kept, for it takes long to make."""
        size = (num_slices, rows, columns, str(base.device))
        if size not in self._prefixes:
            tokens_per_slice = rows * columns // base.config.vision_config.spatial_merge_size**2
            grid = torch.tensor([[1, rows, columns]]).repeat(num_slices, 1).to(base.device)
            ids = torch.tensor(self.prompts.prefix_ids(num_slices, tokens_per_slice), device=base.device)
            visual_mask = ids == base.config.image_token_id
            positions, _ = base.model.get_rope_index(
                ids[None], mm_token_type_ids=visual_mask[None].int(), image_grid_thw=grid
            )
            self._prefixes[size] = {
                "prefix_ids": ids, "position_ids": positions[:, 0], "visual_mask": visual_mask, "grid": grid
            }  # fmt: skip
        return self._prefixes[size]


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
def prefilled(base: QwenVL, volume: EncodedVolume) -> tuple[LayerPrefix, ...]:
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
    base: QwenVL,
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
        if volume.deepstack:
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

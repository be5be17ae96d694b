"""Slices as the patch rows that a Qwen-VL's vision tower reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .architecture import HALVES, PixelStatistics


def resized(slices: torch.Tensor, size: int) -> torch.Tensor:
    """Slices float [S, C, H, W] in 0..1 as [S, C, size, size]; those of that size come back as they are."""
    if tuple(slices.shape[2:]) == (size, size):
        return slices
    return F.interpolate(slices, size=(size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def stretched_channels(slices: torch.Tensor, ranges: Sequence[Sequence[float]]) -> torch.Tensor:
    """Three channels of one window, each a part of its grey values stretched to 0..1: three narrower windows.

    A lesion that differs from its organ by a tenth of a wide window fills a quarter of a narrow one. The ranges belong
    to the weights that were trained with them, so they stand in the model's `config.json`, as
    `vision_config.channel_ranges`; Qwen's own models have none.

    Args:
        slices: float [S, 1, H, W] in 0..1.
        ranges: three pairs (lower, upper) in 0..1.

    Returns:
        float [S, 3, H, W] in 0..1; what lies outside a range is clipped.

    Raises:
        ValueError: slices that have three channels already.
    """
    if slices.shape[1] != 1:
        raise ValueError(
            f"This model makes its channels from one window, got {slices.shape[1]} channels (config key `windows`)."
        )
    return torch.cat([((slices - low) / (high - low)).clamp(0.0, 1.0) for low, high in ranges], dim=1)


def three_channels(slices: torch.Tensor, ranges: Sequence[Sequence[float]] | None) -> torch.Tensor:
    """The channels that a model sees: stretched ones if it has ranges, else the slices' own, grey ones repeated.

    Args:
        slices: float [S, 1 or 3, H, W] in 0..1.
        ranges: see `stretched_channels`; None for a model without.

    Returns:
        float [S, 3, H, W] in 0..1.

    Raises:
        ValueError: ranges, and slices that have three channels already.
    """
    return stretched_channels(slices, ranges) if ranges else slices.expand(-1, 3, -1, -1)


def slices_to_patches(
    slices: torch.Tensor,
    patch_size: int,
    merge_size: int,
    temporal_size: int,
    statistics: PixelStatistics = HALVES,
) -> torch.Tensor:
    """Slices to the patch rows that a Qwen-VL's vision tower reads; equal to transformers' image processor.

    Args:
        slices: float [S, 3, H, W] in 0..1; H and W are multiples of patch_size * merge_size.
        patch_size: pixels of a patch's side.
        merge_size: patches of a visual token's side; patches of one token stand together.
        temporal_size: frames of a patch; a still image is repeated.
        statistics: what pixels are normalised by; default: that of Qwen3-VL.

    Returns:
        float [S * H/patch * W/patch, 3 * temporal * patch * patch], normalised.

    Raises:
        ValueError: a side that is not a whole number of merged patches.
    """
    num_slices, channels, height, width = slices.shape
    unit = patch_size * merge_size
    if height % unit or width % unit:
        raise ValueError(
            f"Slices of {height}x{width} pixels do not divide into {unit}x{unit} pixels a visual token; "
            "set `slice_size` to a multiple of it."
        )
    mean, std = (slices.new_tensor(values)[:, None, None] for values in statistics)
    normalised = (slices - mean) / std
    grid = normalised.reshape(
        num_slices, channels, height // unit, merge_size, patch_size, width // unit, merge_size, patch_size
    )
    rows = grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, channels, 1, patch_size, patch_size)
    return rows.expand(-1, -1, temporal_size, -1, -1).flatten(1)

"""Slices as PNG images in data URLs."""

from __future__ import annotations

import base64

import torch

from ..images.picture_file import png_bytes


def slice_urls(slices: torch.Tensor) -> list[str]:
    """One data URL a slice, from inferior to superior.

    PNG has 8 bits: values are rounded to multiples of 1/255.

    Args:
        slices: float [S, H, W], grey, or [S, 3, H, W], colour, in 0..1.

    Returns:
        S texts.

    Raises:
        ValueError: another shape.
    """
    if slices.ndim == 4 and slices.shape[1] == 1:
        slices = slices[:, 0]
    if len(slices) == 0 or slices.ndim not in (3, 4) or (slices.ndim == 4 and slices.shape[1] != 3):
        raise ValueError(f"Slices must have the shape [S, H, W] or [S, 3, H, W], got {list(slices.shape)}.")
    grey_values = (slices.clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    if slices.ndim == 4:
        grey_values = grey_values.movedim(1, -1)
    return ["data:image/png;base64," + base64.b64encode(png_bytes(one)).decode("ascii") for one in grey_values.numpy()]

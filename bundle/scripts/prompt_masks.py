"""Many prompts on one volume: all their boxes in one batch, a box that several prompts share once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

Box = tuple[float, float, float, float]


class Prompt(NamedTuple):
    """Where to start.

    Args:
        key_index: 0-based shown slice.
        boxes_xyxy_px: on it, in pixels of the shown slices.
    """

    key_index: int
    boxes_xyxy_px: tuple[Box, ...]


def prompt_of(key_index: int, boxes_xyxy_px: np.ndarray) -> Prompt | None:
    """A prompt from boxes [N, 4]; None without any."""
    boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in np.asarray(boxes_xyxy_px, dtype=np.float64).tolist())
    return Prompt(key_index, boxes) if boxes else None


class PropagatesAnchors(Protocol):
    """What is asked of a propagator, see `propagation.SlicePropagator`."""

    def masks(self, slices: Any, anchors: Sequence[tuple[int, Any]], window: int | None = None) -> list[torch.Tensor]:
        """For each key slice with its boxes a mask [S, H, W]."""


def prompt_masks(
    propagator: PropagatesAnchors, slices: torch.Tensor, prompts: Sequence[Prompt | None], window: int | None = None
) -> list[np.ndarray]:
    """The mask of each prompt: the union over its boxes.

    Args:
        propagator: MedSAM2.
        slices: float [S, H, W] or [S, 3, H, W] in 0..1.
        prompts: None asks for nothing.
        window: slices to each side of the key slice; None: all.

    Returns:
        For each prompt bool [S, H, W], all False for None and for a prompt without boxes.
    """
    masks = [np.zeros((len(slices), *slices.shape[-2:]), dtype=bool) for _ in prompts]
    wanted: dict[tuple[int, Box], list[int]] = {}
    for number, prompt in enumerate(prompts):
        if prompt is not None:
            for box in prompt.boxes_xyxy_px:
                wanted.setdefault((prompt.key_index, box), []).append(number)
    if wanted:
        anchors = [(key_index, np.array([box], dtype=np.float64)) for key_index, box in wanted]
        for numbers, found in zip(wanted.values(), propagator.masks(slices, anchors, window), strict=True):
            for number in numbers:
                masks[number] |= found.cpu().numpy()
    return masks

"""The masks of many prompts on one volume: all their objects in one batch, one that several prompts share once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from .slice_prompt import SlicePrompt


class PropagatesAnchors(Protocol):
    """What the propagator must have, see `propagation.SlicePropagator`; `experts` are others."""

    def scored_masks(
        self, slices: Any, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> Sequence[tuple[torch.Tensor, float]]:
        """For each key slice with its boxes, and with its points where there are any, a mask [S, H, W] and its
        predicted IoU."""


class PromptMask(NamedTuple):
    """What came of a prompt.

    Args:
        mask: bool [S, H, W], the union over its objects; all False without any.
        predicted_iou: what MedSAM2 expects, 0..1, see `propagation.ScoredMask`: the mean over the objects; 0 without
            any.
    """

    mask: np.ndarray
    predicted_iou: float


def prompt_masks(
    propagator: PropagatesAnchors,
    slices: torch.Tensor,
    prompts: Sequence[SlicePrompt | None],
    window: int | None = None,
) -> list[PromptMask]:
    """The mask of each prompt.

    Args:
        propagator: MedSAM2.
        slices: float [S, H, W] or [S, 3, H, W] in 0..1.
        prompts: None asks for nothing.
        window: slices to each side of the key slice; None: all.
    """
    masks = [np.zeros((len(slices), *slices.shape[-2:]), dtype=bool) for _ in prompts]
    expected: list[list[float]] = [[] for _ in prompts]
    wanted: dict[SlicePrompt, list[int]] = {}
    for number, prompt in enumerate(prompts):
        for single in prompt.objects if prompt is not None else ():
            wanted.setdefault(single, []).append(number)
    if wanted:
        scored = propagator.scored_masks(slices, [single.arguments for single in wanted], window)
        for numbers, (found, predicted_iou) in zip(wanted.values(), scored, strict=True):
            for number in numbers:
                masks[number] |= found.cpu().numpy()
                expected[number].append(predicted_iou)
    return [PromptMask(mask, sum(ious) / max(len(ious), 1)) for mask, ious in zip(masks, expected, strict=True)]

"""Many prompts on one volume: equal ones are propagated once, those of one key slice together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

# Boxes whose logits are held at a time: at 64 slices of 256 x 256 pixels a box takes 17 MB.
_BOXES_AT_A_TIME = 16

Box = tuple[float, float, float, float]


class Prompt(NamedTuple):
    """Where to start.

    Args:
        key_index: 0-based shown slice.
        boxes_xyxy_px: on it, in pixels of the shown slices.
    """

    key_index: int
    boxes_xyxy_px: tuple[Box, ...]


class PropagatesBoxes(Protocol):
    """What is asked of a propagator, see `propagation.SlicePropagator`."""

    def encode(self, slices: Any) -> Any:
        """Slices to what `logits` takes."""

    def logits(self, slices: Any, key_index: int, boxes_xyxy_px: Any, window: int | None = None) -> torch.Tensor:
        """[N, S, H, W], one for each box."""


def prompt_masks(
    propagator: PropagatesBoxes, slices: torch.Tensor, prompts: Sequence[Prompt | None], window: int | None = None
) -> list[np.ndarray]:
    """The mask of each prompt: the union over its boxes.

    Args:
        propagator: MedSAM2; each slice of the volume is encoded once for all prompts.
        slices: float [S, H, W] or [S, 3, H, W] in 0..1.
        prompts: None asks for nothing.
        window: slices to each side of the key slice; None: all.

    Returns:
        For each prompt bool [S, H, W], all False for None and for a prompt without boxes.
    """
    masks = [np.zeros((len(slices), *slices.shape[-2:]), dtype=bool) for _ in prompts]
    wanted: dict[int, dict[Box, list[int]]] = {}
    for number, prompt in enumerate(prompts):
        for box in prompt.boxes_xyxy_px if prompt else ():
            wanted.setdefault(prompt.key_index, {}).setdefault(box, []).append(number)
    features = propagator.encode(slices) if wanted else None
    for key_index, numbers_by_box in wanted.items():
        boxes = list(numbers_by_box)
        for start in range(0, len(boxes), _BOXES_AT_A_TIME):
            part = boxes[start : start + _BOXES_AT_A_TIME]
            logits = propagator.logits(features, key_index, np.array(part, dtype=np.float64), window)
            for box, found in zip(part, (logits > 0).cpu().numpy(), strict=True):
                for number in numbers_by_box[box]:
                    masks[number] |= found
    return masks

"""What is asked of a model that makes masks of prompts: where another one plugs in.

A config names it as `propagator`. `propagation.SlicePropagator` with MedSAM2 is the one that comes with the bundle, for
volumes and, as a volume of one slice, for single images; `experts.load_sam` gives others for single images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..propagation import ScoredMask


class SegmentationExpert(Protocol):
    """Sees slices and what marks objects on one of them, and says where the objects are."""

    def to(self, device: torch.device | str) -> Any:
        """Moves the model; returns self."""

    def encode(self, slices: Any) -> Any:
        """Slices float [S, H, W] or [S, 3, H, W] in 0..1 to whatever the others take in their place."""

    def scored_masks(
        self, slices: Any, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> Sequence[ScoredMask]:
        """For each anchor the union of its objects' masks, and what the model expects of it.

        Args:
            slices: as for `encode`, or from it.
            anchors: (key_index, boxes_xyxy_px) or (key_index, boxes_xyxy_px, points_xy_px), see
                `slice_prompt.SlicePrompt`.
            window: slices to each side of the key slice; None: all.
        """

    def masks(
        self, slices: Any, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> Sequence[torch.Tensor]:
        """The masks alone, bool [S, H, W]: what R_c asks for."""

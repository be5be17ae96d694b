"""Teaches a small model's vision tower to see before the language model learns to talk about it.

Qwen3-VL's tower comes pretrained; the small one starts from noise, and key slices and boxes alone, a few numbers for a
volume, do not teach it to find a lesion. Here each visual token names what lies on its pixels, through a linear head
that is thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import nn

from ..lvlm.model import VolumeLVLM

UNKNOWN = -1.0
"""In a label: nobody marked this structure in this volume, so it is neither there nor not there."""

# The focal loss of a label is divided by its cells, and by these at least: an absent one must not weigh without bounds.
_LEAST_CELLS = 20.0


class SliceSegmenter(nn.Module):
    """The vision tower of a language model with a linear head that names the cells of each visual token.

    Args:
        network: its vision tower is used; loads its weights now.
        num_labels: L.
        cell_size: side in pixels of the square cells that a visual token is divided into.

    Raises:
        ValueError: cells do not divide a visual token.
    """

    def __init__(self, network: VolumeLVLM, num_labels: int, cell_size: int = 2) -> None:
        super().__init__()
        vision = network.base.config.vision_config
        token_side = vision.patch_size * vision.spatial_merge_size
        if cell_size < 1 or token_side % cell_size:
            raise ValueError(f"cell_size must divide a visual token's {token_side} pixels, got {cell_size}.")
        self.network = network
        self.num_labels = num_labels
        self.cell_size = cell_size
        self.token_side = token_side
        self.cells_a_side = token_side // cell_size
        self.head = nn.Linear(vision.out_hidden_size, num_labels * self.cells_a_side**2)
        # Most cells hold none of the labels: without this the first steps only learn to say so.
        nn.init.constant_(self.head.bias, -3.0)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Logits of the labels.

        Args:
            slices: float [B, S, H, W] in 0..1.

        Returns:
            float [B, L, S, H / cell, W / cell].
        """
        return self.named_cells(self.network.encode(slices.flatten(0, 1)).visual_embeds, slices.shape)

    def named_cells(self, features: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """The same of features that are there already.

        Args:
            features: [V, hidden], of the visual tokens of all slices.
            shape: (B, S, H, W) of the slices.
        """
        batch, num_slices, height, width = shape
        side = self.cells_a_side
        rows, columns = height // self.token_side, width // self.token_side
        cells = self.head(features).reshape(batch, num_slices, rows, columns, self.num_labels, side, side)
        cells = cells.permute(0, 4, 1, 2, 5, 3, 6)
        return cells.reshape(batch, self.num_labels, num_slices, rows * side, columns * side)


class PartialLabelLoss(nn.Module):
    """Focal loss, normalised by the cells that hold the label, plus Dice; over the labels that a volume is marked with.

    A plain mean over cells learns a lesion of ten cells among forty thousand as absent; averaging what holds the label
    and what does not apart learns its whole organ as the lesion. The normalised focal loss (Lin et al. 2017,
    arXiv 1708.02002) weighs a cell of the organ like one of the lesion.
    """

    def __init__(self) -> None:
        super().__init__()
        self.focal = FocalLoss(gamma=2.0, reduction="none")
        # The smoothing lets an empty prediction of an absent structure count as right.
        self.dice = DiceLoss(sigmoid=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """A scalar.

        Args:
            logits: float [B, L, S, H, W].
            label: float of the same shape, 0 to 1 (the share of the cell), or `UNKNOWN` over a whole label.
        """
        known = label.flatten(2)[..., 0] >= 0
        truth = label.clamp(min=0.0)
        held = truth.flatten(2).sum(dim=-1).clamp(min=_LEAST_CELLS)
        focal = self.focal(logits, truth).flatten(2).sum(dim=-1) / held
        dice = self.dice(logits, truth).flatten(2).mean(dim=-1)
        return (focal + dice)[known].mean()

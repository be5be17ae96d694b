"""Slices of phantoms with the share of each label in each cell: what the vision tower is pretrained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ..phantom.scan import LABELS, SUBSETS, make_phantom, seeds_of
from ..volume.windows import HUWindow
from .vision_pretraining import UNKNOWN

# Slices of a phantom that slices are drawn from; between these, at random, as in `phantom_volumes`.
_FEWEST_SLICES, _MOST_SLICES = 24, 48

# How often a slice without any label is drawn, against one with a single label.
_CHANCE_OF_A_BLANK = 0.2


class PhantomSlices(Dataset):
    """Item i is the same slices of the same phantom every time.

    Args:
        split: of the phantoms' seeds (see `phantom.scan.SEEDS`).
        num_volumes: length.
        num_slices: S slices drawn from each volume, in their order; the more labels a slice shows, the more often.
        slice_size: H = W in pixels.
        cell_size: side in pixels of the cells that a label is averaged over.
        subsets: taken in turns.
        window: lower and upper HU that become 0 and 1.

    Raises:
        ValueError: an unknown split or subset, or more volumes than the split has seeds.
    """

    def __init__(
        self,
        split: str,
        num_volumes: int,
        num_slices: int,
        slice_size: int,
        cell_size: int = 2,
        subsets: Sequence[str] = SUBSETS,
        window: Sequence[float] = (-160.0, 240.0),
    ) -> None:
        self.seeds = seeds_of(split, num_volumes, subsets)
        self.num_slices = num_slices
        self.slice_size = slice_size
        self.cell_size = cell_size
        self.subsets = list(subsets)
        self.window = HUWindow(window)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`image` float32 [S, H, W] in 0..1 and `label` float32 [L, S, H / cell, W / cell], see `PartialLabelLoss`."""
        seed = self.seeds[index]
        rng = np.random.default_rng(seed)
        shape = (self.slice_size, self.slice_size, int(rng.integers(_FEWEST_SLICES, _MOST_SLICES + 1)))
        phantom = make_phantom(seed, self.subsets[index % len(self.subsets)], shape=shape, canonical=True)
        chances = _chances(phantom.label)
        drawn = np.sort(rng.choice(shape[2], size=min(self.num_slices, shape[2]), replace=False, p=chances))
        # Voxel axes are (left, posterior, superior); slices are [S, rows, columns].
        image = torch.from_numpy(phantom.image[:, :, drawn].transpose(2, 1, 0).astype(np.float32))
        label = torch.from_numpy(phantom.label[:, :, drawn].transpose(2, 1, 0).astype(np.uint8))
        shares = [
            F.avg_pool2d((label == value).float(), self.cell_size)
            if value in phantom.label_names
            else torch.full([len(label), *(side // self.cell_size for side in label.shape[1:])], UNKNOWN)
            for value in LABELS
        ]
        return {"image": self.window(image), "label": torch.stack(shares)}


def _chances(label: np.ndarray) -> np.ndarray:
    """float64 [Z], of each slice of a label map [X, Y, Z]: lesions show on few slices, and many slices show nothing."""
    shown = [len(np.unique(label[:, :, z])) for z in range(label.shape[2])]
    chances = np.array(shown) - 1 + _CHANCE_OF_A_BLANK
    return chances / chances.sum()

"""A volume with K queries: the unit that training reads, and the collation of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class VolumeQueries:
    """One volume's shown slices and its queries with their answers.

    Args:
        case: name, for reports.
        slices: float32 [S, H, W] or [S, 3, H, W] in 0..1.
        texts: K queries.
        targets: K plain names of what they refer to.
        masks: bool [K, S, H, W], all False for an absent target.
        completions: K texts that state the training anchors.
    """

    case: str
    slices: torch.Tensor
    texts: tuple[str, ...]
    targets: tuple[str, ...]
    masks: torch.Tensor
    completions: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.texts), len(self.targets), len(self.masks), len(self.completions)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"{self.case}: need one target, mask and completion for each of at least one query.")


def collate_volumes(items: Sequence[VolumeQueries]) -> list[VolumeQueries]:
    """A batch is a list: volumes differ in their number of slices and queries."""
    return list(items)

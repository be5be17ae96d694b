"""Volumes with a query each as the rows that TRL's trainer reads.

A row is made when it is asked for, once for all its completions. Its images have 8 bits, as image files have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from PIL import Image

from ..datasets.volume_queries import VolumeQueries
from ..lvlm.prompts import PromptBuilder
from ..lvlm.vision import three_channels


def trl_dataset(
    volumes: Sequence[VolumeQueries], prompts: PromptBuilder, channel_ranges: Sequence[Sequence[float]] | None = None
) -> Dataset:
    """A data set with a row for each volume.

    Columns: `prompt`, a chat that the trainer's processor renders to the prompt of `VolumeLVLM`; `images`, one for each
    slice; what the rewards read (`rewards`): `masks`, bool [S, H, W], and `slices`, float32 [S, H, W] or [S, 3, H, W].

    Args:
        volumes: of one query each (`queries_per_volume` is 1): TRL's trainer knows no shared prefix.
        prompts: of the model.
        channel_ranges: of its `vision_config`, see `vision.stretched_channels`; None shows three equal channels.

    Raises:
        ValueError: no volumes; when a row is made, a volume of several queries.
    """
    if len(volumes) == 0:
        raise ValueError(
            "There are no volumes to train on; give a list with at least one (config key `train_dataset`)."
        )
    rows = Dataset.from_dict({"volume": list(range(len(volumes)))})
    return rows.with_transform(_Rows(volumes, prompts, channel_ranges))


class _Rows:
    """Columns of a batch of row numbers; completions of one volume get the same objects, as the rewards want it.

    The rows of the last batch are kept: TRL reads a batch once for each of its updates and forwards.
    """

    def __init__(
        self, volumes: Sequence[VolumeQueries], prompts: PromptBuilder, ranges: Sequence[Sequence[float]] | None
    ) -> None:
        self.volumes, self.prompts, self.ranges = volumes, prompts, ranges
        self._kept: dict[int, dict[str, Any]] = {}

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        numbers = dict.fromkeys(batch["volume"])
        self._kept = {number: self._kept.get(number) or self._row(self.volumes[number]) for number in numbers}
        rows = [self._kept[number] for number in batch["volume"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _row(self, item: VolumeQueries) -> dict[str, Any]:
        if len(item.texts) != 1:
            raise ValueError(
                f"{item.case} has {len(item.texts)} queries; TRL's trainer takes one a row, so set the config key "
                "`queries_per_volume` to 1."
            )
        return {
            "prompt": self.prompts.messages(len(item.slices), item.texts[0]),
            "images": _images(item.slices, self.ranges),
            # Arrays: tensors would be moved to the trainer's device, one copy for each completion.
            "masks": item.masks[0].numpy(),
            "slices": item.slices.numpy(),
        }


def _images(slices: torch.Tensor, ranges: Sequence[Sequence[float]] | None) -> list[Image.Image]:
    """[S, H, W] or [S, 3, H, W] in 0..1 to S images."""
    slices = slices if slices.ndim == 4 else slices[:, None]
    pixels = (three_channels(slices, ranges) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one) for one in pixels]

"""CT volumes on disk with queries and target masks, as a JSON list, for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch.utils.data import Dataset

from ..anchor import format_completion
from ..queries.reasoning import rule_made_think
from ..targets import sft_anchor, target_mask
from ..volume.body_crop import AIR_HU, CropToBodyd
from ..volume.query_text import check_query
from ..volume.transforms import LoadSlicesd, ResizeSlicesd, WindowHUd
from .datalist import TRAINING, read_datalist
from .volume_queries import VolumeQueries


class ListedVolumes(Dataset):
    """Volumes of a list of cases (`datalist`) with image, label and query.

    The queries of a volume stand together. `target` is a plain name for the reasoning; default "target".

    Args:
        datalist: the JSON file.
        num_slices: S, shown slices.
        slice_size: H = W in pixels.
        queries_per_volume: K at most; a volume with more queries is several items.
        window: lower and upper HU that become 0 and 1.
        top_k: slices among which the SFT key slice is drawn (paper, Sec. 2.4).
        seed: of that draw; it is made once for each query, as in the paper.
        crop_to_body: show the body, not all of the field of view; as the inference that the model is for.

    Raises:
        DatalistError: the list cannot be used, or files of it are not there.
        QueryError: a query that cannot be asked.
    """

    def __init__(
        self,
        datalist: str | Path,
        num_slices: int,
        slice_size: int,
        queries_per_volume: int = 8,
        window: Sequence[float] = (-160.0, 240.0),
        top_k: int = 4,
        seed: int = 0,
        crop_to_body: bool = True,
    ) -> None:
        by_image: dict[str, list[dict[str, Any]]] = {}
        for entry in read_datalist(datalist, TRAINING):
            check_query(entry["query"])
            by_image.setdefault(entry["image"], []).append(entry)
        self.items = [
            group[start : start + queries_per_volume]
            for group in by_image.values()
            for start in range(0, len(group), queries_per_volume)
        ]
        self.num_slices = num_slices
        self.slice_size = slice_size
        self.window = list(window)
        self.top_k = top_k
        self.seed = seed
        self.crop_to_body = crop_to_body

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> VolumeQueries:
        rng = np.random.default_rng([self.seed, index])
        entries = self.items[index]
        image, labels = self._shown(entries[0]["image"], dict.fromkeys(entry["label"] for entry in entries))
        masks, completions, targets = [], [], []
        for entry in entries:
            mask = target_mask(labels[entry["label"]], entry.get("label_values"))
            anchor = sft_anchor(mask, rng, self.top_k)
            targets.append(entry.get("target", "target"))
            masks.append(torch.from_numpy(mask))
            completions.append(format_completion(anchor, rule_made_think(targets[-1], anchor)))
        return VolumeQueries(
            case=Path(entries[0]["image"]).name,
            slices=image,
            texts=tuple(entry["query"] for entry in entries),
            targets=tuple(targets),
            masks=torch.stack(masks),
            completions=tuple(completions),
        )

    def _shown(self, image: str, labels: Iterable[str]) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Shown slices [S, H, W] of an image, and of each label file on its grid: many queries ask about one file."""
        keys = ["image", *labels]
        crop = [CropToBodyd(keys, fill=[AIR_HU] + [0.0] * (len(keys) - 1))] if self.crop_to_body else []
        transform = Compose(
            [
                LoadSlicesd(keys, self.num_slices, label_keys=keys[1:]),
                *crop,
                WindowHUd("image", [self.window]),
                ResizeSlicesd(keys, self.slice_size, mode=["bilinear"] + ["nearest"] * (len(keys) - 1)),
            ]
        )
        shown = transform({"image": image} | {path: path for path in labels})
        return shown["image"][0].as_tensor(), {path: shown[path][0].numpy() for path in labels}

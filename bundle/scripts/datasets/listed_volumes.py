"""Volumes and images on disk with queries and target masks, as a JSON list, for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..anchor import AnswerForm, EvidenceAnchor, format_completion
from ..queries.reasoning import plain_name, rule_made_think
from ..targets import sft_anchor, target_mask
from ..umrg.marks import true_anchor
from ..volume.query_text import check_query
from ..volume.windows import CT, checked_intensity
from .asked_queries import asked_queries, check_absent_fraction
from .datalist import TRAINING, read_datalist
from .shown_volume import shown_volume
from .slice_cache import SliceCache
from .volume_queries import POINTS_PER_BOX, VolumeQueries, check_sft_form


class ListedVolumes(Dataset):
    """Volumes of a list of cases (`datalist`) with image, label and query.

    The queries of a volume stand together. `target` is a plain name for the reasoning; default "target". Grey values
    are those of 8 bits, kept on disk or not.

    Args:
        datalist: the JSON file.
        num_slices: S, shown slices.
        slice_size: H = W in pixels.
        queries_per_volume: K at most; a volume with more queries is several items.
        window: lower and upper HU of a CT that become 0 and 1.
        top_k: slices among which the SFT key slice is drawn (paper, Sec. 2.4).
        seed: of that draw; it is made once for each query, as in the paper.
        crop_to_body: show the body of a CT, not all of the field of view; as the inference that the model is for.
        intensity: what the values of the images are, see `windows.INTENSITIES`.
        absent_fraction: the share of queries whose target is on no shown slice, see `asked_queries`; None: all.
        cache_dir: where shown slices are kept, see `SliceCache`: (1 + label files) * S * H * W bytes a volume. None:
            volumes are read anew each time.
        answer_form: of the SFT answers: "boxes"; "boxes_and_points", two points a box; or "image", of single images.

    Raises:
        DatalistError: the list cannot be used, or files of it are not there.
        QueryError: a query that cannot be asked.
        ValueError: `absent_fraction` is no share below 1, the intensity or the form is unknown, or the form is "image"
            and `num_slices` is not 1; in use, a target that this form cannot state.
        VolumeError: in use, a volume that cannot be used, or a label that does not lie on its image.
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
        intensity: str = CT,
        absent_fraction: float | None = None,
        cache_dir: str | Path | None = None,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        if answer_form != "image":
            check_sft_form(answer_form)
        elif num_slices != 1:
            raise ValueError(f'num_slices is {num_slices}; answers of the form "image" are about 1 (`answer_form`).')
        check_absent_fraction(absent_fraction)
        by_image: dict[str, list[dict[str, Any]]] = {}
        for entry in read_datalist(datalist, TRAINING):
            check_query(entry["query"])
            by_image.setdefault(entry["image"], []).append(entry)
        self.volumes = list(by_image.values())
        # Of which volume an item is, and where its queries start among those that are asked about it.
        self.items = [
            (number, start)
            for number, entries in enumerate(self.volumes)
            for start in range(0, len(entries), queries_per_volume)
        ]
        self.queries_per_volume = queries_per_volume
        self.shown = {
            "num_slices": num_slices,
            "slice_size": slice_size,
            "window": list(window),
            "crop_to_body": crop_to_body,
            "intensity": checked_intensity(intensity),
        }
        self.top_k = top_k
        self.seed = seed
        self.absent_fraction = absent_fraction
        self.answer_form = answer_form
        self.cache = SliceCache(cache_dir)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> VolumeQueries:
        number, start = self.items[index]
        image = self.volumes[number][0]["image"]
        slices, labels = self._shown(number)
        rng = np.random.default_rng([self.seed, index])
        entries = self._asked(number, start, labels)
        masks, completions, targets = [], [], []
        for entry in entries:
            mask = target_mask(labels[entry["label"]], entry.get("label_values"))
            anchor = self._taught(entry, mask, rng)
            targets.append(entry.get("target", "target"))
            masks.append(torch.from_numpy(mask))
            think = rule_made_think(plain_name(targets[-1]), anchor)
            completions.append(format_completion(anchor, think, self.answer_form))
        return VolumeQueries(
            case=Path(image).name,
            slices=slices / 255,
            texts=tuple(entry["query"] for entry in entries),
            targets=tuple(targets),
            masks=torch.stack(masks),
            completions=tuple(completions),
        )

    def _taught(self, entry: dict[str, Any], mask: np.ndarray, rng: np.random.Generator) -> EvidenceAnchor:
        """The anchor that SFT teaches of a mask [S, H, W]."""
        if self.answer_form != "image":
            return sft_anchor(mask, rng, self.top_k, POINTS_PER_BOX[self.answer_form])
        anchor = true_anchor(entry, mask)
        if anchor is None:
            raise ValueError(
                f'case {entry["case"]!r} marks nothing as it is shown, and an answer of the form "image" cannot say '
                "so; leave it out, or set `absent_fraction` to 0"
            )
        return anchor

    def _shown(self, number: int) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Shown slices, uint8 [S, H, W] or [S, 3, H, W], and label files: many queries ask about one file."""
        entries = self.volumes[number]
        image, labels = entries[0]["image"], list(dict.fromkeys(entry["label"] for entry in entries))
        shown = self.cache.get([image, *labels], self.shown, lambda: shown_volume(image, labels, **self.shown))
        return shown["image"], dict(zip(labels, shown["labels"].numpy(), strict=True))

    def _asked(self, number: int, start: int, labels: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """The entries of an item; if fewer queries are asked than the volume has, its last items repeat some."""
        entries = self.volumes[number]
        asked = list(range(len(entries)))
        if self.absent_fraction is not None:
            values = {path: np.unique(label) for path, label in labels.items()}
            seen = [target_mask(values[entry["label"]], entry.get("label_values")).any() for entry in entries]
            asked = asked_queries(seen, self.absent_fraction, np.random.default_rng([self.seed, number]))
        chosen = asked[start : start + self.queries_per_volume] or [asked[start % len(asked)]]
        return [entries[position] for position in chosen]

"""CT volumes on disk with label maps, as a JSON list, for training the propagator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..datasets.datalist import PROPAGATOR_TRAINING, DatalistError, read_datalist
from ..datasets.shown_volume import shown_volume
from ..datasets.slice_cache import SliceCache
from .clips import LabelledVolumes

_logger = logging.getLogger(__name__)
_MOST_VALUES = 255  # labels are uint8


def listed_label_volumes(
    datalist: str | Path,
    *,
    num_slices: int,
    slice_size: int,
    window: Sequence[float] = (-160.0, 240.0),
    min_slices: int = 1,
    cache_dir: str | Path | None = None,
) -> list[LabelledVolumes]:
    """The volumes of a list of cases (`datasets.datalist`) with image and label, each as a pool of its own.

    Every value of a label map except 0 is something to follow, or those of `label_values`, if given. The lists of
    stage 1 (`listed_volumes`) serve as well: entries of one image and label file are one volume. A volume in which
    nothing is marked, or with too few slices, is left out with a warning.

    Args:
        datalist: the JSON file.
        num_slices: shown slices of a volume, as in the pipeline; one with fewer keeps them all.
        slice_size: rows and columns, pixels.
        window: lower and upper HU that become 0 and 255.
        min_slices: least slices of a volume: the longest clip.
        cache_dir: where the voxels are kept, 2 * num_slices * slice_size^2 bytes a volume, see `SliceCache`; they are
            mapped from there, so that memory holds what is in use. None: all are held in memory.

    Raises:
        DatalistError: the list cannot be used, files of it are not there, or no volume is left.
        VolumeError: a volume that cannot be used, or a label that does not lie on its image.
    """
    cache = SliceCache(cache_dir)
    shown = {"num_slices": num_slices, "slice_size": slice_size, "window": list(window), "crop_to_body": False}
    pools = []
    for (image, label), values in _grouped(datalist).items():
        read = partial(_read, image, label, values, shown)
        pool = LabelledVolumes(**cache.get([image, label], shown | {"values": values}, read), first_label=1)
        depth = pool.labels.shape[1]
        if not pool.labels.any() or depth < min_slices:
            why = f"it has {depth} slices, {min_slices} are needed" if depth < min_slices else "nothing is marked"
            _logger.warning("%s with %s is left out: %s", image, label, why)
            continue
        pools.append(pool)
    if not pools:
        raise DatalistError(f"no volume of {datalist} can be used: each is too thin or its label marks nothing.")
    return pools


def _grouped(path: str | Path) -> dict[tuple[str, str], list[int] | None]:
    """(image, label) -> the label values of its entries together; None: all values."""
    groups: dict[tuple[str, str], list[int] | None] = {}
    for entry in read_datalist(path, PROPAGATOR_TRAINING):
        files, values = (entry["image"], entry["label"]), entry.get("label_values")
        known = groups.get(files, [])
        groups[files] = None if values is None or known is None else [*known, *values]
    return groups


def _read(image: str, label: str, values: list[int] | None, shown: dict[str, Any]) -> dict[str, torch.Tensor]:
    """One volume as the pipeline shows it, uint8 [1, D, R, R]; its label values become 1, 2, ..."""
    volume = shown_volume(image, [label], **shown)
    found = volume["labels"]
    wanted = [v for v in (found.unique().tolist() if values is None else set(values)) if v != 0]
    if len(wanted) > _MOST_VALUES:
        raise DatalistError(f"{label} has {len(wanted)} values; at most {_MOST_VALUES}: choose with `label_values`.")
    labels = torch.zeros(found.shape, dtype=torch.uint8)
    for number, value in enumerate(sorted(wanted), start=1):
        labels[found == value] = number
    return {"labels": labels, "images": volume["image"][None]}

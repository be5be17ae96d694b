"""CT volumes on disk with label maps, as a JSON list, for training the propagator."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..datasets.datalist import PROPAGATOR_TRAINING, DatalistError, read_datalist
from ..volume.transforms import LoadSlicesd, ResizeSlicesd, WindowHUd
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
) -> list[LabelledVolumes]:
    """The volumes of a list of cases (`datasets.datalist`) with image and label, each as a pool of its own.

    Every value of a label map except 0 is something to follow, or those of `label_values`, if given. The lists of
    stage 1 (`listed_volumes`) serve as well: entries of one image and label file are one volume. A volume in which
    nothing is marked, or with too few slices, is left out with a warning. All voxels are held in memory:
    2 * num_slices * slice_size^2 bytes a volume.

    Args:
        datalist: the JSON file.
        num_slices: shown slices of a volume, as in the pipeline; one with fewer keeps them all.
        slice_size: rows and columns, pixels.
        window: lower and upper HU that become 0 and 255.
        min_slices: least slices of a volume: the longest clip.

    Raises:
        DatalistError: the list cannot be used, files of it are not there, or no volume is left.
        VolumeError: a volume that cannot be used, or a label that does not lie on its image.
    """
    pools = []
    for (image, label), values in _grouped(datalist).items():
        pool = _read(image, label, values, num_slices, slice_size, window)
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


def _read(
    image: str, label: str, values: list[int] | None, num_slices: int, slice_size: int, window: Sequence[float]
) -> LabelledVolumes:
    """One volume as the pipeline shows it; its label values become 1, 2, ..."""
    keys = ["image", "label"]
    data: Mapping[Hashable, Any] = {"image": image, "label": label}
    for transform in (  # not composed: `Compose` would hide the reason of an error
        LoadSlicesd(keys, num_slices),
        WindowHUd("image", [window]),
        ResizeSlicesd(keys, slice_size, mode=["bilinear", "nearest"]),
    ):
        data = transform(data)
    shown = data["label"][0].as_tensor()
    wanted = [float(v) for v in (shown.unique() if values is None else set(values)) if v != 0]
    if len(wanted) > _MOST_VALUES:
        raise DatalistError(f"{label} has {len(wanted)} values; at most {_MOST_VALUES}: choose with `label_values`.")
    labels = torch.zeros(shown.shape, dtype=torch.uint8)
    for number, value in enumerate(sorted(wanted), start=1):
        labels[shown == value] = number
    pixels = (data["image"][0].as_tensor() * 255).round().to(torch.uint8)
    return LabelledVolumes(labels[None], pixels[None], 1)

"""CT volumes on disk with label maps, as a JSON list, for training the propagator."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..datasets.cases import DatalistError
from ..json_list import read_json_list
from ..volume.transforms import LoadVolumed, OrientByAffined, ResizeSlicesd, SampleSlicesd, WindowHUd
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
    """The volumes of a JSON list `[{"image", "label", "label_values"?}, ...]`, each as a pool of its own.

    Every value of a label map except 0 is something to follow, or those of `label_values`, if given. Other keys are not
    read, so the lists of stage 1 (`listed_volumes`) serve as well: entries of one image and label file are one volume.
    Paths are relative to the list's folder. A volume in which nothing is marked, or with too few slices, is left out
    with a warning. All voxels are held in memory: 2 * num_slices * slice_size^2 bytes a volume.

    Args:
        datalist: the JSON file.
        num_slices: shown slices of a volume, as in the pipeline; one with fewer keeps them all.
        slice_size: rows and columns, pixels.
        window: lower and upper HU that become 0 and 255.
        min_slices: least slices of a volume: the longest clip.

    Raises:
        DatalistError: the list cannot be read, an entry lacks a key, or no volume is left.
        VolumeError: a volume that cannot be used, or a label that does not lie on its image.
    """
    path = Path(datalist)
    pools = []
    for (image, label), values in _grouped(path).items():
        pool = _read(path.parent / image, path.parent / label, values, num_slices, slice_size, window)
        depth = pool.labels.shape[1]
        if not pool.labels.any() or depth < min_slices:
            why = f"it has {depth} slices, {min_slices} are needed" if depth < min_slices else "nothing is marked"
            _logger.warning("%s with %s is left out: %s", image, label, why)
            continue
        pools.append(pool)
    if not pools:
        raise DatalistError(f"no volume of {path} can be used: each is too thin or its label marks nothing.")
    return pools


def _grouped(path: Path) -> dict[tuple[str, str], list[float] | None]:
    """(image, label) -> the label values of its entries together; None: all values."""
    keys = "config keys `train_datalist`, `validation_datalist`"
    wanted = "a JSON list of entries with image and label"
    entries = read_json_list(path, "the list of volumes", keys, wanted, DatalistError)
    groups: dict[tuple[str, str], list[float] | None] = {}
    for number, entry in enumerate(entries, start=1):
        image, label, values = _checked(entry, f"entry {number} of {path}")
        known = groups.get((image, label), [])
        groups[image, label] = None if values is None or known is None else [*known, *values]
    return groups


def _checked(entry: Any, where: str) -> tuple[str, str, list[float] | None]:
    for key in ("image", "label"):
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise DatalistError(f"{where} has no {key!r}; give the path of a NIfTI file.")
    values = entry.get("label_values")
    if values is not None and (not isinstance(values, list) or not all(isinstance(v, int | float) for v in values)):
        raise DatalistError(f"label_values of {where} is {values!r}; give a list of numbers.")
    return entry["image"], entry["label"], values


def _read(
    image: Path, label: Path, values: list[float] | None, num_slices: int, slice_size: int, window: Sequence[float]
) -> LabelledVolumes:
    """One volume as the pipeline shows it; its label values become 1, 2, ..."""
    keys = ["image", "label"]
    data: Mapping[Hashable, Any] = {"image": image, "label": label}
    for transform in (  # not composed: `Compose` would hide the reason of an error
        LoadVolumed(keys),
        OrientByAffined(keys),
        SampleSlicesd(keys, num_slices),
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

"""The unit of an evaluation: a volume with all its queries and their targets, so that it is read and encoded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.data import Dataset, MetaTensor

from ..errors import failure_of
from ..targets import target_mask
from ..volume.cropped_mask import CroppedMask
from ..volume.geometry import SliceGeometry, shown_mask
from ..volume.grid import Grid, check_same_grid
from ..volume.io import read_volume
from ..volume.query_text import check_query
from .datalist import DatalistError, read_datalist

_logger = logging.getLogger(__name__)

Values = tuple[int, ...] | None
"""The values of a label file that are the target; None: all but 0."""


class _Mask(NamedTuple):
    """One mask of a label file, on the source grid and on the shown slices, and the file's affine."""

    source: CroppedMask
    shown: np.ndarray | None
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class Target:
    """What a query should find.

    Args:
        source: the mask on the source grid.
        shown: bool [S, H, W], the mask on the shown slices; None where the volume could not be prepared.
        affine: [4, 4] of the label file.
        opposite: the mask of the counterpart on the other side of the body, None where it is not known.
    """

    source: CroppedMask
    shown: np.ndarray | None
    affine: np.ndarray
    opposite: CroppedMask | None


def read_volume_cases(
    datalist: str | Path | None, demo: Callable[[], str | Path] | None = None
) -> list[dict[str, Any]]:
    """The entries of a datalist, grouped by volume.

    Args:
        datalist: a JSON list, see `datalist`.
        demo: writes the cases of a run that was given no list, and returns the path of theirs.

    Returns:
        Dictionaries with `case` (the name of the first query's case), `image` and `queries` (entries, in the order of
        the list). An entry without a `patient` has its image as one.

    Raises:
        DatalistError: the list cannot be used, or there is neither a list nor a demo.
    """
    if datalist is None:
        if demo is None:
            raise DatalistError("there is nothing to do; give `datalist`.")
        datalist = demo()
    volumes: dict[str, dict[str, Any]] = {}
    for entry in read_datalist(datalist):
        volume = volumes.setdefault(entry["image"], {"case": entry["case"], "image": entry["image"], "queries": []})
        volume["queries"].append({"patient": Path(entry["image"]).name} | entry)
    for volume in volumes.values():
        _pair_sides(volume["queries"])
    return list(volumes.values())


class VolumeCaseDataset(Dataset):
    """Prepares volumes with their queries; what cannot be prepared becomes a record of its failure, not an error.

    An item has `case`, `image_path`, `queries` (the entries), `image` (MetaTensor [C, S, H, W], with the geometry in
    its meta data) and `targets`: for each query a `Target`, None where the entry has no label, or a failure `{"case",
    "reason", "message"}`. `failures` holds for each query None or why it cannot be asked. If the volume itself cannot
    be prepared, there is no `image`, and that is the failure of all its queries.

    Args:
        data: from `read_volume_cases`.
        transform: the preprocessing of `{"image": path}`.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable) -> None:
        super().__init__(data, transform)

    def _transform(self, index: int) -> dict[str, Any]:
        volume = self.data[index]
        item = {"case": volume["case"], "image_path": volume["image"], "queries": volume["queries"]}
        image, broken = None, None
        try:
            image = self.transform({"image": volume["image"]})["image"]
            item["image"] = image
        except Exception as error:  # whatever it is, the other volumes are still to be done
            _logger.debug("volume %s cannot be prepared", volume["image"], exc_info=True)
            broken = error
        item["failures"] = [_failure(entry, broken) for entry in volume["queries"]]
        item["targets"] = _targets(volume["queries"], image)
        return item


def _failure(entry: Mapping[str, Any], broken: Exception | None) -> dict[str, str] | None:
    try:
        check_query(entry["query"])
    except ValueError as error:
        return failure_of(broken or error, entry["case"])
    return None if broken is None else failure_of(broken, entry["case"])


def _targets(entries: Sequence[Mapping[str, Any]], image: MetaTensor | None) -> list[Target | dict | None]:
    """The target of each entry; each label file is read once, however many queries ask about it."""
    wanted: dict[str, set[Values]] = {}
    for entry in entries:
        for path, values in _masks_of(entry):
            wanted.setdefault(path, set()).add(values)
    masks: dict[tuple[str, Values], _Mask | Exception] = {}
    for path, choices in wanted.items():
        masks |= {(path, values): mask for values, mask in _read_masks(path, choices, image).items()}
    return [_target(entry, [masks[named] for named in _masks_of(entry)]) for entry in entries]


def _masks_of(entry: Mapping[str, Any]) -> list[tuple[str, Values]]:
    """File and values of an entry's target and, if known, of its counterpart; nothing for an entry without a label."""
    keys = [("label", "label_values"), ("opposite_label", "opposite_values")] if "label" in entry else []
    return [(entry[path], tuple(entry[values]) if values in entry else None) for path, values in keys if path in entry]


def _target(entry: Mapping[str, Any], masks: Sequence[_Mask | Exception]) -> Target | dict | None:
    for mask in masks:
        if isinstance(mask, Exception):
            return failure_of(mask, entry["case"])
    if not masks:
        return None
    own, *others = masks
    return Target(own.source, own.shown, own.affine, others[0].source if others else None)


def _read_masks(
    path: str, choices: Iterable[Values], image: MetaTensor | None
) -> dict[Values, _Mask] | dict[Values, Exception]:
    """The masks of some values of one label file, checked to lie on the grid of the image; or why there are none."""
    try:
        label, affine = read_volume(path, is_label=True)
        geometry = None if image is None else SliceGeometry.from_meta(image.meta)
        if geometry is not None:
            source = Grid(geometry.source_shape, geometry.source_affine, image.meta["filename_or_obj"])
            check_same_grid(Grid(label.shape, affine, path), source)
        found = {}
        for values in choices:
            mask = target_mask(label, values)
            shown = None if geometry is None else shown_mask(mask, geometry, *image.shape[2:])
            found[values] = _Mask(CroppedMask.of(mask), shown, affine)
        return found
    except Exception as error:  # a bad label leaves the other queries alone
        _logger.debug("label %s cannot be read", path, exc_info=True)
        return dict.fromkeys(choices, error)


def _pair_sides(entries: Sequence[dict[str, Any]]) -> None:
    """Gives a target with a side the mask of its counterpart, where another query of the volume asks for that."""
    labels = {entry["target"]: entry for entry in entries if "target" in entry and "label" in entry}
    for entry in entries:
        counterpart = labels.get(_other_side(entry.get("target", "")))
        if "label" in entry and "opposite_label" not in entry and counterpart is not None:
            entry["opposite_label"] = counterpart["label"]
            if "label_values" in counterpart:
                entry["opposite_values"] = counterpart["label_values"]


def _other_side(target: str) -> str | None:
    """ "left kidney" for "right kidney", "lesion_in:left:cyst" for "lesion_in:right:cyst", None without a side."""
    for side, other in (("right", "left"), ("left", "right")):
        if side in target:
            return target.replace(side, other)
    return None

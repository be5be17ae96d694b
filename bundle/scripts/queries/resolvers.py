"""Which kidney a lesion belongs to, and what a resolver string points at in a label map.

A resolver is the part of a query that the volume answers: "kidney_with:cyst" is the kidney of *this* patient that bears
a cyst. Labels are those of `phantom.scan.LABELS`; right and left are labels, so any order of the axes will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..volume.cropped_mask import foreground_window

KIDNEYS = {"right": 2, "left": 3}
LESIONS = {"tumor": (11,), "cyst": (12,), "lesion": (11, 12)}
"""As in KiTS23, a lesion (mass) is a tumor or a cyst."""

SIZE_MARGIN = 1.2
"""The larger of two must have this many times the voxels of the other: else nobody can tell which is meant."""

T = TypeVar("T")
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


class Unresolvable(ValueError):
    """The question has no single answer in this volume: "the kidney with a cyst" where both have one."""


class Lesion(NamedTuple):
    """One 26-connected component of a lesion label."""

    label: int
    side: str | None
    """"right" or "left" kidney; None where no kidney is in view"""
    voxels: int
    window: tuple[slice, ...]
    """its bounding box in the label map"""
    mask: np.ndarray
    """bool, within the window"""


class Anatomy(NamedTuple):
    """What the resolvers need to know of a label map; made once for many queries."""

    voxels: dict[int, int]
    """number of voxels of each label that is present"""
    lesions: tuple[Lesion, ...]


class Selection(NamedTuple):
    """What a resolver selects: whole labels and single lesions. Nothing selected: the target is absent."""

    labels: tuple[int, ...] = ()
    lesions: tuple[Lesion, ...] = ()

    def mask(self, label: np.ndarray) -> np.ndarray:
        """The selection as a bool mask of the label map's shape."""
        mask = np.zeros(label.shape, dtype=bool)
        for value in self.labels:
            mask |= label == value
        for lesion in self.lesions:
            mask[lesion.window] |= lesion.mask
        return mask


def resolve(resolver: str, label: np.ndarray) -> np.ndarray:
    """The mask that a resolver points at.

    Args:
        resolver: one of the forms of `select`.
        label: uint8, rank 3, any order of the axes, with the ids of `phantom.scan.LABELS`.

    Returns:
        bool, shape of `label`; empty where the target is absent.

    Raises:
        Unresolvable: the question is ambiguous in this volume.
        ValueError: unknown resolver, or a label map that is not of rank 3.
    """
    return select(resolver, describe(label)).mask(label)


def describe(label: np.ndarray) -> Anatomy:
    """Count the labels and assign each lesion to a kidney.

    A lesion that touches one kidney (26 neighbors) belongs to it. One that touches both or none belongs to the nearest:
    the least mean distance of its voxels to the kidney's, in voxels.
    """
    if label.ndim != 3:
        raise ValueError(f"A label map must be of rank 3, got the shape {label.shape}.")
    counts = np.bincount(label.ravel(), minlength=1)
    voxels = {value: int(counts[value]) for value in range(1, len(counts)) if counts[value]}
    lesions = [lesion for value in LESIONS["lesion"] if value in voxels for lesion in _lesions_of(label, value, voxels)]
    return Anatomy(voxels, tuple(lesions))


def select(resolver: str, anatomy: Anatomy) -> Selection:
    """Look up a resolver; K is "tumor", "cyst" or "lesion" (either).

    - "labels:2,3": these labels together; those present count.
    - "kidney_with:K", "kidney_without:K": the one kidney that bears a K, or that bears none.
    - "kidney_with_more:K", "kidney_with_largest:K": by the number of K, by its largest K.
    - "lesion_in:right:K": all K of that kidney.
    - "largest:K", "smallest:K": one lesion of at least two; K may be "kidney".
    - "lesion_beside:K:R", "lesion_opposite:K:R": all K of the one kidney with an R, or without any R.

    A kidney is its parenchyma without lesions. Where a question presupposes what is not there (no K at all, no kidney
    without K), nothing is selected: the target is absent. Where two would do, or sizes differ by less than
    `SIZE_MARGIN`, it is ambiguous.

    Raises:
        Unresolvable: ambiguous in this volume.
        ValueError: unknown resolver.
    """
    match resolver.split(":"):
        case ["labels", ids] if all(value.isdecimal() for value in ids.split(",")):
            return Selection(labels=tuple(value for value in map(int, ids.split(",")) if value in anatomy.voxels))
        case ["kidney_with", kind] if kind in LESIONS:
            return _kidneys(_bearing(anatomy, kind))
        case ["kidney_without", kind] if kind in LESIONS:
            return _kidneys(_free_of(anatomy, kind))
        case ["kidney_with_more", kind] if kind in LESIONS:
            return _kidneys(_with_more(anatomy, kind))
        case ["kidney_with_largest", kind] if kind in LESIONS:
            return _kidneys(_with_largest(anatomy, kind))
        case ["lesion_in", side, kind] if side in KIDNEYS and kind in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, [side]))
        case ["lesion_beside", kind, reference] if kind in LESIONS and reference in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, _single(_bearing(anatomy, reference))))
        case ["lesion_opposite", kind, reference] if kind in LESIONS and reference in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, _single(_free_of(anatomy, reference))))
        case ["largest" | "smallest" as extreme, "kidney"]:
            return _kidneys(_of_size(anatomy, extreme == "largest"))
        case ["largest" | "smallest" as extreme, kind] if kind in LESIONS:
            lesions = [lesion for lesion in anatomy.lesions if lesion.label in LESIONS[kind]]
            return Selection(lesions=_extreme(lesions, [lesion.voxels for lesion in lesions], extreme == "largest"))
    raise ValueError(f"Unknown resolver {resolver!r}; the forms are listed at `resolvers.select`.")


def _kidneys(sides: Sequence[str]) -> Selection:
    return Selection(labels=tuple(KIDNEYS[side] for side in _single(sides)))


def _single(sides: Sequence[str]) -> Sequence[str]:
    if len(sides) > 1:
        raise Unresolvable("Both kidneys satisfy the question.")
    return sides


def _of_kind(anatomy: Anatomy, kind: str) -> list[Lesion]:
    lesions = [lesion for lesion in anatomy.lesions if lesion.label in LESIONS[kind]]
    if any(lesion.side is None for lesion in lesions):
        raise Unresolvable(f"A {kind} belongs to no kidney in view.")
    return lesions


def _on_sides(anatomy: Anatomy, kind: str, sides: Sequence[str]) -> tuple[Lesion, ...]:
    return tuple(lesion for lesion in _of_kind(anatomy, kind) if lesion.side in sides)


def _kidneys_in_view(anatomy: Anatomy) -> list[str]:
    return [side for side, value in KIDNEYS.items() if value in anatomy.voxels]


def _bearing(anatomy: Anatomy, kind: str) -> list[str]:
    return [side for side in _kidneys_in_view(anatomy) if _on_sides(anatomy, kind, [side])]


def _free_of(anatomy: Anatomy, kind: str) -> list[str]:
    bearing = _bearing(anatomy, kind)
    return [side for side in _kidneys_in_view(anatomy) if side not in bearing]


def _with_more(anatomy: Anatomy, kind: str) -> list[str]:
    counts = {side: len(_on_sides(anatomy, kind, [side])) for side in _kidneys_in_view(anatomy)}
    most = max(counts.values(), default=0)
    if most and len(counts) < 2:
        raise Unresolvable("One kidney alone cannot have more than the other.")
    return [side for side, count in counts.items() if count == most] if most else []


def _with_largest(anatomy: Anatomy, kind: str) -> list[str]:
    lesions = _of_kind(anatomy, kind)
    return [str(lesion.side) for lesion in _extreme(lesions, [lesion.voxels for lesion in lesions], largest=True)]


def _of_size(anatomy: Anatomy, largest: bool) -> Sequence[str]:
    sides = _kidneys_in_view(anatomy)
    return _extreme(sides, [anatomy.voxels[KIDNEYS[side]] for side in sides], largest)


def _extreme(items: Sequence[T], sizes: Sequence[int], largest: bool) -> tuple[T, ...]:
    """The item of the largest or smallest size if it stands out among at least two; none of none."""
    if not items:
        return ()
    if len(items) < 2:
        raise Unresolvable("There is only one: nothing to compare its size with.")
    order = np.argsort(sizes)[:: -1 if largest else 1]
    first, second = sizes[order[0]], sizes[order[1]]
    if max(first, second) < SIZE_MARGIN * min(first, second):
        raise Unresolvable(f"The sizes {first} and {second} voxels are too alike.")
    return (items[order[0]],)


def _lesions_of(label: np.ndarray, value: int, voxels: dict[int, int]) -> list[Lesion]:
    found = label == value
    window = foreground_window(found)
    components, _ = ndimage.label(found[window], structure=_TOUCHING)
    lesions = []
    for number, inner in enumerate(ndimage.find_objects(components), start=1):
        mask = components[inner] == number
        outer = tuple(slice(w.start + i.start, w.start + i.stop) for w, i in zip(window, inner, strict=True))
        side = _side_of(label, mask, outer, voxels)
        lesions.append(Lesion(value, side, int(np.count_nonzero(mask)), outer, mask))
    return lesions


def _side_of(label: np.ndarray, mask: np.ndarray, window: tuple[slice, ...], voxels: dict[int, int]) -> str | None:
    in_view = {side: value for side, value in KIDNEYS.items() if value in voxels}
    if len(in_view) < 2:
        return next(iter(in_view), None)
    # One voxel around the lesion, as far as the volume reaches.
    around = tuple(slice(max(w.start - 1, 0), w.stop + 1) for w in window)
    inset = tuple(slice(w.start - a.start, w.stop - a.start) for w, a in zip(window, around, strict=True))
    grown = np.zeros(label[around].shape, dtype=bool)
    grown[inset] = mask
    contact = label[around][ndimage.binary_dilation(grown, structure=_TOUCHING)]
    touched = [side for side, value in in_view.items() if (contact == value).any()]
    if len(touched) == 1:
        return touched[0]
    points = np.argwhere(mask) + [w.start for w in window]
    distance = {side: cKDTree(np.argwhere(label == value)).query(points)[0].mean() for side, value in in_view.items()}
    return min(distance, key=distance.__getitem__)

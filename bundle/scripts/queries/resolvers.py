"""What a resolver string points at in a label map.

A resolver is the part of a query that the volume answers: "kidney_with:cyst" is the kidney of *this* patient that bears
a cyst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from .lesions import KIDNEYS, LESIONS, Anatomy, Lesion, describe

SIZE_MARGIN = 1.2
"""The larger of two must have this many times the voxels of the other: else nobody can tell which is meant."""

HEIGHT_MARGIN_MM = 10.0
"""The centers of the uppermost and the next lesion must be this far apart along the patient, for the same reason."""

T = TypeVar("T")


class Unresolvable(ValueError):
    """The question has no single answer in this volume: "the kidney with a cyst" where both have one."""


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


def select(resolver: str, anatomy: Anatomy) -> Selection:
    """Look up a resolver; K is "tumor", "cyst" or "lesion" (either).

    - "labels:2,3": these labels together; those present count.
    - "kidney_with:K", "kidney_without:K": the one kidney that bears a K, or that bears none.
    - "kidney_with_several:K": the one kidney that bears at least two K.
    - "kidney_with_more:K", "kidney_with_largest:K": by the number of K, by its largest K.
    - "lesion_in:right:K", "largest_in:right:K": all K of that kidney, and the largest of at least two.
    - "largest:K", "smallest:K": one lesion of at least two; K may be "kidney".
    - "uppermost:K", "lowermost:K": one lesion of at least two, by the height of its center.
    - "lesion_beside:K:R", "lesion_opposite:K:R": all K of the one kidney with an R, or without any R.

    A kidney is its parenchyma without lesions. Where a question presupposes what is not there (no K at all, no kidney
    without K), nothing is selected: the target is absent. Where two would do, or sizes differ by less than
    `SIZE_MARGIN` or heights by less than `HEIGHT_MARGIN_MM`, it is ambiguous.

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
        case ["kidney_with_several", kind] if kind in LESIONS:
            return _kidneys([side for side in KIDNEYS if len(_on_sides(anatomy, kind, [side])) > 1])
        case ["kidney_with_more", kind] if kind in LESIONS:
            return _kidneys(_with_more(anatomy, kind))
        case ["kidney_with_largest", kind] if kind in LESIONS:
            return _kidneys(_with_largest(anatomy, kind))
        case ["lesion_in", side, kind] if side in KIDNEYS and kind in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, [side]))
        case ["largest_in", side, kind] if side in KIDNEYS and kind in LESIONS:
            return Selection(lesions=_of_lesion_size(_on_sides(anatomy, kind, [side]), largest=True))
        case ["lesion_beside", kind, reference] if kind in LESIONS and reference in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, _single(_bearing(anatomy, reference))))
        case ["lesion_opposite", kind, reference] if kind in LESIONS and reference in LESIONS:
            return Selection(lesions=_on_sides(anatomy, kind, _single(_free_of(anatomy, reference))))
        case ["largest" | "smallest" as extreme, "kidney"]:
            return _kidneys(_of_size(anatomy, extreme == "largest"))
        case ["largest" | "smallest" as extreme, kind] if kind in LESIONS:
            lesions = [lesion for lesion in anatomy.lesions if lesion.label in LESIONS[kind]]
            return Selection(lesions=_of_lesion_size(lesions, extreme == "largest"))
        case ["uppermost" | "lowermost" as extreme, kind] if kind in LESIONS:
            return Selection(lesions=_of_height(anatomy, kind, extreme == "uppermost"))
    raise ValueError(f"Unknown resolver {resolver!r}; the forms are listed at `resolvers.select`.")


def needed_labels(resolver: str) -> frozenset[int]:
    """The labels that must have been drawn for an answer to be right: where one was not, nothing is known of it."""
    form, *arguments = resolver.split(":")
    if form == "labels":
        return frozenset(map(int, arguments[0].split(",")))
    lesions = {value for kind in arguments if kind in LESIONS for value in LESIONS[kind]}
    of_lesions_alone = form in ("largest", "smallest", "uppermost", "lowermost") and "kidney" not in arguments
    return frozenset(lesions if of_lesions_alone else lesions | set(KIDNEYS.values()))


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
    return [str(lesion.side) for lesion in _of_lesion_size(_of_kind(anatomy, kind), largest=True)]


def _of_lesion_size(lesions: Sequence[Lesion], largest: bool) -> tuple[Lesion, ...]:
    return _extreme(lesions, [lesion.voxels for lesion in lesions], largest)


def _of_height(anatomy: Anatomy, kind: str, upper: bool) -> tuple[Lesion, ...]:
    lesions = [lesion for lesion in anatomy.lesions if lesion.label in LESIONS[kind]]
    heights_mm = {i: lesion.height_mm for i, lesion in enumerate(lesions) if lesion.height_mm is not None}
    if len(heights_mm) < len(lesions):
        raise Unresolvable("Up and down are not known without an affine.")
    if len(lesions) == 1:
        raise Unresolvable("There is only one: nothing to compare its height with.")
    order = sorted(heights_mm, key=heights_mm.__getitem__, reverse=upper)
    if lesions and abs(heights_mm[order[0]] - heights_mm[order[1]]) < HEIGHT_MARGIN_MM:
        raise Unresolvable(f"The heights differ by less than {HEIGHT_MARGIN_MM:g} mm.")
    return tuple(lesions[i] for i in order[:1])


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

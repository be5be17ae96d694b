"""Real label maps in disjoint parts: right and left kidney, each lesion, every organ with a value of its own.

Public data sets draw both kidneys as one label and all tumors as another. What a question asks for ("the kidney with a
cyst", "the largest tumor of the right kidney") is a union of parts, so a datalist's `label` and `label_values` say it.

**The kidney** is the label of that name as the data set draws it. In KiTS23 it is the parenchyma without tumors and
cysts, which are parts of their own; "the right kidney" is then the parenchyma of that side.

**Right and left** are the patient's, by the affine alone, never by the order of the array. Kidneys are the 26-connected
components of the kidney label; components on one side that a lesion joins are one kidney that it has torn; less than a
tenth of all kidney voxels is a fragment, not a kidney, and goes to its side.

| found | right and left |
|---|---|
| two kidneys, their centers 50 mm apart or more from right to left | the one further to the right is the right one, wherever the patient lies in the scan |
| one kidney | the side of the midline on which most of its voxels lie |
| several kidneys on one side | each goes to its side, and together they are that side's kidney; questions that compare kidneys or lesions of kidneys are not asked |
| a horseshoe: one component with four fifths of all voxels, a fifth of it or more on either side of the midline | cut at the midline, so that "kidneys" is whole; no question about one kidney or a side is asked |

**The midline** is the sagittal plane through the median of the bones where these are labeled, else through the center of
the grid; for fragments beside two kidneys it is the plane halfway between these.

**A lesion** is a component of its label. Specks of less than 0.03 ml join the next lesion of their kind within 10 mm. A
lesion belongs to the kidney that it touches, see `lesions.describe`.
"""  # noqa: E501

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..volume.cropped_mask import Window, foreground_window
from .kidney_sides import Sides, kidney_sides
from .lesions import KIDNEYS, LESIONS, REACH_MM, Anatomy, count_voxels, describe
from .resolvers import Unresolvable, needed_labels, select

MERGED_KIDNEYS = "kidney"
VALUES = {
    "liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4, "pancreas": 5, "bladder": 6, "lungs": 7, "bone": 9,
    "brain": 10, "kidney tumor": 11, "kidney cyst": 12, "brainstem": 13, "spinal cord": 14, "right parotid": 15,
    "left parotid": 16, "esophagus": 17, "larynx": 18, "mandible": 19,
}  # fmt: skip
"""Names that the query bank knows, with the value of each part; `MERGED_KIDNEYS` becomes a right and a left one."""

FIRST_OWN_VALUE = 101
"""Other names take values from here on, in their order."""

FIRST_LESION_VALUE = 1001
"""Each lesion has a value of its own from here on, tumors first."""

NO_VALUE = 65535
"""No part has this value: the `label_values` of a target that is not there."""

_SPECK_ML = 0.03
_MERGED_VALUE = 100
_OF_KIDNEYS = (*KIDNEYS.values(), *LESIONS["lesion"], _MERGED_VALUE)


class Part(NamedTuple):
    """One value of `LabelParts.label`. `side` is "right", "left" or None: of a kidney, or of a lesion's kidney."""

    value: int
    name: str
    side: str | None
    voxels: int
    ml: float


@dataclass(frozen=True, eq=False)
class LabelParts:
    """A label map in disjoint parts.

    Args:
        label: uint16 [X, Y, Z], on the grid of the label map.
        parts: what each value is, in the order of the values.
        notes: what was decided, in sentences.
        values: the value of each name that was drawn, present or not; "kidney" stands as "right kidney" and
            "left kidney". Lesions have further values (`values_of`).
        anatomy: what resolvers read.
        no_sides: why no question about one kidney or a side can be answered; empty where it can.
        no_comparison: the same of questions that compare kidneys or ask for lesions of one.
    """

    label: np.ndarray
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    values: dict[str, int]
    anatomy: Anatomy
    no_sides: str = ""
    no_comparison: str = ""

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names that the bank does not know."""
        return tuple(name for name in self.values if name not in VALUES)

    def union_of(self, names: Sequence[str]) -> str:
        """The resolver of some names together, "kidney" for both of them; empty where one was not drawn."""
        both = [f"{side} kidney" for side in KIDNEYS]
        each = [one for name in names for one in (both if name == MERGED_KIDNEYS else [name])]
        drawn = all(name in self.values for name in each)
        return "labels:" + ",".join(str(self.values[name]) for name in each) if drawn else ""

    def was_drawn(self, resolver: str) -> bool:
        """Whether all labels that an answer needs were drawn: else it is unknown, not absent."""
        drawn = set(self.values.values()) | ({8} if VALUES["lungs"] in self.values.values() else set())
        return needed_labels(resolver) <= drawn

    def values_of(self, resolver: str) -> list[int]:
        """The values that a resolver (`resolvers.select`) points at, in order; none where the target is absent.

        Raises:
            Unresolvable: ambiguous in this patient.
            ValueError: unknown resolver.
        """
        needed = needed_labels(resolver)
        if resolver.startswith("labels:"):
            reason = self.no_sides if len(needed & set(KIDNEYS.values())) == 1 else ""
        else:
            reason = self.no_comparison if needed & set(KIDNEYS.values()) else ""
        if reason:
            raise Unresolvable(reason)
        selection = select(resolver, self.anatomy)
        # Whole labels of lesions have become the parts of each.
        lesions = [*selection.lesions, *(one for one in self.anatomy.lesions if one.label in selection.labels)]
        organs = set(selection.labels) - set(LESIONS["lesion"])
        return sorted(organs | {int(self.label[one.window][one.mask][0]) for one in lesions})


def label_parts(
    label: np.ndarray,
    affine: np.ndarray,
    names: Mapping[str, Sequence[int]],
    midline_mm: float | None = None,
) -> LabelParts:
    """Take a real label map apart.

    Args:
        label: whole numbers [X, Y, Z].
        affine: [4, 4], voxel index to RAS+ mm, as nibabel gives it: it alone says what is right, left, up and down.
        names: the values of each name; all that were drawn, so that what has no voxel is absent. Known are `VALUES`
            and "kidney" for both kidneys in one label; others as the user calls them.
        midline_mm: where the midline is, in RAS+ mm from left to right; default: see above.

    Raises:
        ValueError: not a label map of rank 3, a value of two names, or both "kidney" and one of a side.
    """
    label, affine = np.asarray(label), np.asarray(affine, dtype=np.float64)
    _check(label, affine, names)
    values = _values(names)
    # All is done where something is marked, and most where the kidneys are: a tenth of an abdominal CT.
    marked = foreground_window(label != 0)
    table = _new_values(label[marked], names, values)
    voxels, notes = _counted(label[marked], table)
    base = _renumbered(label, marked, table)
    window = _placed(foreground_window(np.isin(table, _OF_KIDNEYS)[label[marked]]), marked)
    inside, inside_affine = base[window], affine @ _shift(window)
    sides = None
    if MERGED_KIDNEYS in names:
        midline = _midline_mm(base, affine) if midline_mm is None else midline_mm
        sides = _split_kidneys(inside, inside_affine, midline)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    kidneys = describe(inside, inside_affine, specks_below=math.ceil(_SPECK_ML / voxel_ml))
    lesions = tuple(one._replace(window=_placed(one.window, window)) for one in kidneys.lesions)
    anatomy = Anatomy(voxels | {value: n for value, n in kidneys.voxels.items() if value in _OF_KIDNEYS}, lesions)
    for number, lesion in enumerate(lesions):
        base[lesion.window][lesion.mask] = FIRST_LESION_VALUE + number
    return LabelParts(
        label=base,
        parts=_parts(values, anatomy, voxel_ml),
        notes=(*notes, *(sides.notes if sides else ()), *_notes_of_lesions(anatomy)),
        values=values,
        anatomy=anatomy,
        no_sides=sides.no_sides if sides else "",
        no_comparison=sides.no_comparison if sides else "",
    )


def _check(label: np.ndarray, affine: np.ndarray, names: Mapping[str, Sequence[int]]) -> None:
    if label.ndim != 3 or label.dtype.kind not in "iu":
        raise ValueError(f"A label map is whole numbers of rank 3, got {label.dtype} of the shape {label.shape}.")
    if label.min(initial=0) < 0:
        raise ValueError(f"A label map has no negative values, got {label.min()}.")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) == 0:
        raise ValueError(f"The affine must be an invertible 4x4 matrix, got {affine.tolist()}.")
    if not names:
        raise ValueError("names is empty; say what the label map holds, as {'liver': [1]}.")
    named: dict[int, str] = {}
    for name, values in names.items():
        for value in values:
            if value < 1 or value in named:
                other = f"it is {named[value]!r} already" if value in named else "0 is what nothing was drawn on"
                raise ValueError(f"names says that the value {value} is {name!r}: {other}; give each value one name.")
            named[value] = name
    sided = sorted({"right kidney", "left kidney"} & set(names))
    if MERGED_KIDNEYS in names and sided:
        raise ValueError(f"names has 'kidney', both in one label, and {sided[0]!r}; give one or the other.")


def _values(names: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The value of each name's part."""
    own = [name for name in names if name not in VALUES and name != MERGED_KIDNEYS]
    values = {name: VALUES[name] for name in names if name in VALUES}
    if MERGED_KIDNEYS in names:
        values |= {f"{side} kidney": value for side, value in KIDNEYS.items()}
    return values | {name: FIRST_OWN_VALUE + number for number, name in enumerate(own)}


def _new_values(label: np.ndarray, names: Mapping[str, Sequence[int]], values: dict[str, int]) -> np.ndarray:
    """The part's value for each value of the label map, uint16; 0 for those without a name."""
    table = np.zeros(int(label.max(initial=0)) + 1, dtype=np.uint16)
    for name, old in names.items():
        for value in old:
            if value < len(table):
                table[value] = _MERGED_VALUE if name == MERGED_KIDNEYS else values[name]
    return table


def _counted(label: np.ndarray, table: np.ndarray) -> tuple[dict[int, int], list[str]]:
    """How many voxels each part has, kidneys in one label aside; what is left out of the label map."""
    voxels: Counter[int] = Counter()
    unnamed = []
    for value, count in count_voxels(label).items():
        if table[value]:
            voxels[int(table[value])] += count
        else:
            unnamed.append(value)
    del voxels[_MERGED_VALUE]
    notes = [f"The label map holds values without a name, which were left out: {unnamed}."] if unnamed else []
    return dict(voxels), notes


def _renumbered(label: np.ndarray, marked: Window, table: np.ndarray) -> np.ndarray:
    """The label map with the parts' values; `marked` is where it is not 0."""
    # What is not marked stays a page of zeros that was never made.
    base = np.zeros(label.shape, table.dtype, order="F" if label.flags.f_contiguous else "C")
    base[marked] = table[label[marked]]
    return base


def _shift(window: Window) -> np.ndarray:
    """From the voxel indices of a window to those of the grid, [4, 4]."""
    shift = np.eye(4)
    shift[:3, 3] = [edge.start for edge in window]
    return shift


def _placed(inner: Window, outer: Window) -> Window:
    """A window of a window, as one of the grid."""
    return tuple(slice(o.start + i.start, o.start + i.stop) for i, o in zip(inner, outer, strict=True))


def _split_kidneys(base: np.ndarray, affine: np.ndarray, midline_mm: float) -> Sides:
    """Gives the merged kidneys their values, in place."""
    kidney = base == _MERGED_VALUE
    sides = kidney_sides(kidney, np.isin(base, LESIONS["lesion"]), affine, midline_mm)
    base[kidney] = KIDNEYS["left"]
    base[sides.right] = KIDNEYS["right"]
    return sides


def _midline_mm(base: np.ndarray, affine: np.ndarray) -> float:
    """Of the bones, or of the grid."""
    bones = np.argwhere(base == VALUES["bone"])
    points = bones if len(bones) else (np.array([base.shape]) - 1) / 2
    return float(np.median(points @ affine[0, :3]) + affine[0, 3])


def _parts(values: Mapping[str, int], anatomy: Anatomy, voxel_ml: float) -> tuple[Part, ...]:
    found = [
        Part(value, name, _side_of_kidney(value), anatomy.voxels[value], anatomy.voxels[value] * voxel_ml)
        for name, value in sorted(values.items(), key=lambda item: item[1])
        if value in anatomy.voxels and value not in LESIONS["lesion"]
    ]
    name_of = {value: name for name, value in values.items()}
    lesions = [
        Part(FIRST_LESION_VALUE + number, name_of[one.label], one.side, one.voxels, one.voxels * voxel_ml)
        for number, one in enumerate(anatomy.lesions)
    ]
    return (*found, *lesions)


def _side_of_kidney(value: int) -> str | None:
    return next((side for side, kidney in KIDNEYS.items() if kidney == value), None)


def _notes_of_lesions(anatomy: Anatomy) -> list[str]:
    kinds = {value: kind for kind in ("tumor", "cyst") for value in LESIONS[kind]}
    notes = [
        f"Specks of a {kinds[one.label]} were joined to it: {one.specks}; together they have {one.voxels} voxels."
        for one in anatomy.lesions
        if one.specks
    ]
    far = sum(one.side is None for one in anatomy.lesions)
    if far:
        notes.append(f"No kidney within {REACH_MM:g} mm: lesions that belong to none are {far}.")
    return notes

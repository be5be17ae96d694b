"""Where the axes of a volume without a usable header point, told from where its organs lie.

Arrays have no header, and some headers say the identity for everybody. The liver lies to the right of the spleen, the
lungs above the liver, the kidneys behind the pancreas: each pair of organs gives a direction, and together they give
the axes or nothing. An axis is never guessed: a mirrored volume would teach left for right.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from .case_failures import CaseError

# The first organ lies further in that direction than the second.
_RULES = {
    "S": (
        ("brain", "lungs"), ("brain", "liver"), ("lungs", "liver"), ("lungs", "kidney"), ("lungs", "bladder"),
        ("liver", "kidney"), ("liver", "bladder"), ("spleen", "kidney"), ("kidney", "bladder"),
    ),
    "L": (("spleen", "liver"), ("pancreas", "liver"), ("body", "liver"), ("left kidney", "right kidney")),
    "P": (("kidney", "pancreas"), ("kidney", "liver"), ("kidney", "body"), ("bone", "liver"), ("spleen", "pancreas")),
}  # fmt: skip
_OPPOSITE = {"S": "I", "L": "R", "P": "A"}
# Shares of the length of an axis: a smaller difference of two centers tells nothing, nor does a choice by less.
_LEAST_SHIFT = 0.02
_LEAST_MARGIN = 0.03
_MOST_VOXELS = 2_000_000  # that are looked at


def anatomical_axes(image: np.ndarray, label: np.ndarray, names: Mapping[str, list[int]], released: str | None) -> str:
    """Where the axes of a volume point.

    Args:
        image: [A, B, C], any unit, brighter inside the body than around it.
        label: [A, B, C], whole numbers.
        names: the values of `label` by name, see `queries.label_parts`.
        released: what is known of the data set; it is taken unless the volume speaks against it. None: nothing.

    Returns:
        nibabel's codes, as "LPS": the first axis goes to the patient's left, ...

    Raises:
        CaseError: "unknown_axes", where the organs do not tell, or contradict.
    """
    shifts = _shifts(image, label, names)
    if released is not None and _agrees(released, shifts, image.shape):
        return released
    found = _axes_of(shifts, image.shape)
    if found is None:
        known = "" if released is None else f" and speak against {released}, as released"
        told = ", ".join(direction for direction, shift in shifts.items() if shift is not None) or "none"
        raise CaseError(
            "unknown_axes",
            f"where the axes of this volume of shape {image.shape} point is not known, and its organs do not tell it "
            f"({told} of S, L, P{known}); look at it and give `axes`, as \"{{'NAME': 'LPS'}}\"",
        )
    return found


def _shifts(image: np.ndarray, label: np.ndarray, names: Mapping[str, list[int]]) -> dict[str, np.ndarray | None]:
    """For each direction how far organs that lie there are from their counterparts, as shares of the axes' lengths."""
    step = max(1, round((image.size / _MOST_VOXELS) ** (1 / 3)))
    image, label = (volume[::step, ::step, ::step] for volume in (image, label))
    inside = {name: np.isin(label, values) for name, values in names.items()} | {"body": image > threshold_otsu(image)}
    centers = {name: np.array(ndimage.center_of_mass(mask)) / mask.shape for name, mask in inside.items() if mask.any()}
    shifts: dict[str, np.ndarray | None] = {}
    for direction, rules in _RULES.items():
        known = [centers[first] - centers[second] for first, second in rules if first in centers and second in centers]
        shifts[direction] = np.mean(known, axis=0) if known else None
    return shifts


def _agrees(axes: str, shifts: Mapping[str, np.ndarray | None], shape: tuple[int, ...]) -> bool:
    """Whether nothing that the volume shows speaks against these axes."""
    axial = _axial_axis(shape)
    if axial is not None and axes[axial] not in "SI":
        return False
    for direction, shift in shifts.items():
        if shift is None:
            continue
        axis = int(np.argmax([code in (direction, _OPPOSITE[direction]) for code in axes]))
        along = shift[axis] if axes[axis] == direction else -shift[axis]
        if along < -_LEAST_SHIFT:
            return False
    return True


def _axes_of(shifts: Mapping[str, np.ndarray | None], shape: tuple[int, ...]) -> str | None:
    """The axes that fit best, if they fit clearly."""
    if any(shift is None for shift in shifts.values()):
        return None
    axial = _axial_axis(shape)
    fits = sorted(
        (sum(abs(shifts[direction][axis]) for axis, direction in enumerate(order)), order)
        for order in permutations("SLP")
        if axial is None or order[axial] == "S"
    )
    (_, best), margin = fits[-1], fits[-1][0] - fits[-2][0]
    along = [shifts[direction][axis] for axis, direction in enumerate(best)]
    if margin < _LEAST_MARGIN or min(map(abs, along)) < _LEAST_SHIFT:
        return None
    return "".join(code if shift > 0 else _OPPOSITE[code] for code, shift in zip(best, along, strict=True))


def _axial_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of another length, where the two others are alike: slices of a CT are square."""
    odd = [axis for axis in range(3) if shape[axis - 1] == shape[axis - 2] != shape[axis]]
    return odd[0] if odd else None

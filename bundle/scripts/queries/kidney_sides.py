"""Which of the kidneys of one label is the right one: by the affine, the components and the midline.

The rules and their names are those of `label_parts`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ..volume.cropped_mask import foreground_window

FRAGMENT = 0.1
"""What holds less than this part of all kidney voxels is no kidney."""

KIDNEYS_APART_MM = 50.0
"""Two kidneys whose centers are this far apart, from right to left, are a right and a left one. Those of adults are 120
to 170 mm apart, two pieces of one kidney some 20 mm."""

HORSESHOE = 0.8
"""A horseshoe holds this part of all kidney voxels in one component, """
HORSESHOE_HALF = 0.2
"""and this part of the component, or more, lies on either side of the midline."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


class Sides(NamedTuple):
    """What was found: `right` is bool of the label map's shape, the voxels of the right kidney.

    `no_sides` and `no_comparison` say why no question about a side, or comparing kidneys, can be answered.
    """

    right: np.ndarray
    notes: tuple[str, ...] = ()
    no_sides: str = ""
    no_comparison: str = ""


def kidney_sides(kidney: np.ndarray, lesions: np.ndarray, affine: np.ndarray, midline_mm: float) -> Sides:
    """Tell the right kidney from the left.

    Args:
        kidney: bool [X, Y, Z], both kidneys.
        lesions: bool [X, Y, Z], their lesions, which may tear a kidney.
        affine: [4, 4], voxel index to RAS+ mm.
        midline_mm: where the midline is, in RAS+ mm from left to right.
    """
    right = np.zeros(kidney.shape, dtype=bool)
    window = foreground_window(kidney | lesions)
    points = np.argwhere(kidney[window])
    if not len(points):
        return Sides(right, ("No kidney is in view.",))
    where = tuple(points.T)
    pieces = ndimage.label(kidney[window], structure=_TOUCHING)[0][where]
    bodies = ndimage.label((kidney | lesions)[window], structure=_TOUCHING)[0][where]
    right_mm = (points + [edge.start for edge in window]) @ affine[0, :3] + affine[0, 3]
    sides = _sides(pieces, bodies, right_mm, midline_mm)
    right[window][where] = sides.right
    return sides._replace(right=right)


def _sides(pieces: np.ndarray, bodies: np.ndarray, right_mm: np.ndarray, midline_mm: float) -> Sides:
    """The same of N voxels [N], each with the numbers of its piece of kidney and its body of kidney and lesions."""
    if _is_horseshoe(pieces, right_mm > midline_mm):
        reason = "The kidneys are one piece across the midline (a horseshoe, or they touch): no side can be told."
        return Sides(right_mm > midline_mm, (reason,), reason, reason)
    notes = []
    _, kidney = np.unique(2 * bodies + _most(pieces, right_mm > midline_mm), return_inverse=True)
    kidneys = np.flatnonzero(np.bincount(kidney) >= FRAGMENT * len(kidney))
    centers_mm = [float(right_mm[kidney == number].mean()) for number in kidneys]
    if len(kidneys) == 2 and abs(centers_mm[0] - centers_mm[1]) >= KIDNEYS_APART_MM:
        if (centers_mm[0] > midline_mm) == (centers_mm[1] > midline_mm):
            notes.append("Both kidneys lie on one side of the midline; the one further to the right is the right one.")
        midline_mm = sum(centers_mm) / 2
    on_right = sum(center > midline_mm for center in centers_mm)
    crowded = {"right": on_right, "left": len(kidneys) - on_right}
    reason = " ".join(
        f"There are {count} kidneys on the {side}, or pieces of one: together they are the {side} kidney."
        for side, count in crowded.items()
        if count > 1
    )
    return Sides(_most(pieces, right_mm > midline_mm), (*notes, *filter(None, [reason])), "", reason)


def _is_horseshoe(pieces: np.ndarray, is_right: np.ndarray) -> bool:
    largest = pieces == np.bincount(pieces).argmax()
    return bool(largest.mean() >= HORSESHOE and HORSESHOE_HALF <= is_right[largest].mean() <= 1 - HORSESHOE_HALF)


def _most(pieces: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Whether most voxels of each voxel's piece are on the right."""
    return (np.bincount(pieces, weights=is_right)[pieces] * 2) >= np.bincount(pieces)[pieces]

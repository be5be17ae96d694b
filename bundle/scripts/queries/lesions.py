"""The lesions of a label map, and which kidney each belongs to.

Labels are those of `phantom.scan.LABELS`; right and left are labels, so any order of the axes will do. Up and down, and
distances in mm, are known where an affine is given: `label_parts` does so for real label maps.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..volume.cropped_mask import foreground_window

KIDNEYS = {"right": 2, "left": 3}
LESIONS = {"tumor": (11,), "cyst": (12,), "lesion": (11, 12)}
"""As in KiTS23, a lesion (mass) is a tumor or a cyst."""

REACH_MM = 20.0
"""A lesion further than this from every kidney belongs to none: its kidney may be missing, or replaced by it."""

SPECK_REACH_MM = 10.0
"""A speck of a drawn lesion belongs to the next lesion of its kind within this distance."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


class Lesion(NamedTuple):
    """One 26-connected component of a lesion label, with the specks that were joined to it."""

    label: int
    side: str | None
    """"right" or "left" kidney; None where no kidney is in view"""
    voxels: int
    window: tuple[slice, ...]
    """its bounding box in the label map"""
    mask: np.ndarray
    """bool, within the window"""
    height_mm: float | None = None
    """of its center along the patient, upward; None where no affine was given"""
    specks: int = 0
    """how many specks were joined to it"""


class Anatomy(NamedTuple):
    """What the resolvers need to know of a label map; made once for many queries."""

    voxels: dict[int, int]
    """number of voxels of each label that is present"""
    lesions: tuple[Lesion, ...]


def describe(label: np.ndarray, affine: np.ndarray | None = None, specks_below: int = 0) -> Anatomy:
    """Count the labels and assign each lesion to a kidney.

    A lesion that touches one kidney (26 neighbors) belongs to it. One that touches both or none belongs to the nearest:
    the least mean distance of its voxels to the kidney's, in mm, or in voxels where no affine is given.

    Args:
        label: rank 3, whole numbers from 0, with the ids of `phantom.scan.LABELS`.
        affine: [4, 4], voxel index to RAS+ mm. With it lesions have a height, and those further than `REACH_MM` from
            every kidney belong to none.
        specks_below: components of a lesion of fewer voxels are joined to the next larger one (`SPECK_REACH_MM`; needs
            the affine): real contours crumble.
    """
    if label.ndim != 3:
        raise ValueError(f"A label map must be of rank 3, got the shape {label.shape}.")
    voxels = count_voxels(label)
    lesions = [
        lesion
        for value in LESIONS["lesion"]
        if value in voxels
        for lesion in _lesions_of(label, value, voxels, affine, specks_below)
    ]
    return Anatomy(voxels, tuple(lesions))


def count_voxels(label: np.ndarray) -> dict[int, int]:
    """The number of voxels of each value but 0 of a label map [X, Y, Z] of whole numbers from 0."""
    # Slab by slab, as they lie in memory: bincount makes 8 bytes of each voxel.
    length = int(label.max(initial=0)) + 1
    slabs = label.transpose(np.argsort(label.strides)[::-1])
    counts = sum((np.bincount(slab.ravel(), minlength=length) for slab in slabs), np.zeros(length, dtype=np.intp))
    return {value: int(counts[value]) for value in range(1, length) if counts[value]}


def _lesions_of(
    label: np.ndarray, value: int, voxels: dict[int, int], affine: np.ndarray | None, specks_below: int
) -> list[Lesion]:
    found = label == value
    window = foreground_window(found)
    components, _ = ndimage.label(found[window], structure=_TOUCHING)
    joined = Counter() if affine is None or not specks_below else _join_specks(components, affine, specks_below)
    lesions = []
    for number, inner in enumerate(ndimage.find_objects(components), start=1):
        if inner is None:
            continue  # a speck that was joined to another
        mask = components[inner] == number
        outer = tuple(slice(w.start + i.start, w.start + i.stop) for w, i in zip(window, inner, strict=True))
        points = np.argwhere(mask) + [w.start for w in outer]
        height_mm = None if affine is None else float(_in_mm(points, affine)[:, 2].mean())
        side = _side_of(label, mask, outer, voxels, affine)
        lesions.append(Lesion(value, side, len(points), outer, mask, height_mm, joined[number]))
    return lesions


def _join_specks(components: np.ndarray, affine: np.ndarray, specks_below: int) -> Counter[int]:
    """Numbers the voxels of small components as the next large one that is near, in place; counts what was joined."""
    small = np.bincount(components.ravel()) < specks_below
    small[0] = False
    specks = np.argwhere(small[components])
    large = np.argwhere((components > 0) & ~small[components])
    joined: Counter[int] = Counter()
    if not len(specks) or not len(large):
        return joined
    distance, nearest = cKDTree(_in_mm(large, affine)).query(_in_mm(specks, affine))
    # A whole speck is joined, or none of it: by its nearest voxel.
    number = components[tuple(specks.T)]
    for speck in np.unique(number):
        own = np.flatnonzero(number == speck)
        closest = own[np.argmin(distance[own])]
        if distance[closest] <= SPECK_REACH_MM:
            owner = int(components[tuple(large[nearest[closest]])])
            components[tuple(specks[own].T)] = owner
            joined[owner] += 1
    return joined


def _side_of(
    label: np.ndarray,
    mask: np.ndarray,
    window: tuple[slice, ...],
    voxels: dict[int, int],
    affine: np.ndarray | None,
) -> str | None:
    in_view = {side: value for side, value in KIDNEYS.items() if value in voxels}
    if affine is None and len(in_view) < 2:
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
    points = _in_mm(np.argwhere(mask) + [w.start for w in window], affine)
    mean = {}
    for side, value in in_view.items():
        distance, _ = cKDTree(_in_mm(np.argwhere(label == value), affine)).query(points)
        if affine is None or distance.min() <= REACH_MM:
            mean[side] = distance.mean()
    return min(mean, key=mean.__getitem__, default=None)


def _in_mm(points: np.ndarray, affine: np.ndarray | None) -> np.ndarray:
    """Voxel indices [N, 3] in RAS+ mm; as they are where no affine is given."""
    return points if affine is None else points @ affine[:3, :3].T + affine[:3, 3]

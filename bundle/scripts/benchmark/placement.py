"""A mask on another grid of the same space, by the affines of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import affine_transform

from ..volume.cropped_mask import foreground_window
from .failures import MaskError

_ALLOWED_SHIFT = 0.1  # voxels by which corners of equal grids may differ: float32 headers round to far less


class PlacedMask(NamedTuple):
    """`mask` bool [X,Y,Z] on the image's grid; `exact`: voxel on voxel, nothing was resampled."""

    mask: np.ndarray
    exact: bool


def place_by_affine(mask: np.ndarray, mask_affine: np.ndarray, shape: Sequence[int], affine: np.ndarray) -> PlacedMask:
    """Bring a mask onto another grid of the same space.

    Exact where the two grids are the same up to the order and direction of axes, a crop or a pad; else each voxel of
    the image takes the nearest of the mask. Outside the mask's field of view nothing is marked.

    Args:
        mask: bool [A,B,C].
        mask_affine: [4,4], its index -> RAS+ mm.
        shape: X, Y, Z of the image.
        affine: [4,4] of the image.

    Raises:
        MaskError: "identity_affine": the mask's affine says nothing, and the image's does. "other_space": the mask has
            the image's shape and lies elsewhere, or neither field of view holds the other (up to a voxel).
    """
    shape = tuple(int(n) for n in shape)
    if _is_unset(mask_affine) and not _is_unset(affine):
        raise MaskError(
            "identity_affine",
            "the mask's affine is the identity and its image's is not: where it lies is unknown; "
            "save it with the image's affine, or set grid to same_shape or sidecar",
        )
    to_mask = np.linalg.inv(mask_affine) @ affine  # image index -> mask index
    rounded = np.rint(to_mask)
    corners = _corners(np.zeros(3), np.array(shape) - 1.0)
    shift = np.abs(corners @ (to_mask - rounded).T).max()
    exact = bool(shift <= _ALLOWED_SHIFT and np.array_equal(np.abs(rounded[:3, :3]).sum(0), np.ones(3)))
    if exact:
        to_mask = rounded
    elif mask.shape == shape:
        raise MaskError(
            "other_space",
            f"the mask has its image's shape {shape} and another affine: {np.round(mask_affine[:3], 3).tolist()}, the "
            f"image {np.round(affine[:3], 3).tolist()}; correct the header, or set grid to same_shape",
        )
    if not _within(mask.shape, np.linalg.inv(to_mask), shape) and not _within(shape, to_mask, mask.shape):
        raise MaskError(
            "other_space",
            f"the mask {mask.shape} with affine {np.round(mask_affine[:3], 3).tolist()} and its image {shape} with "
            f"{np.round(affine[:3], 3).tolist()} are not one field of view, nor one part of the other",
        )
    if exact and mask.shape == shape and np.array_equal(to_mask, np.eye(4)):
        return PlacedMask(mask, True)
    # Only where the mask is: an organ fills a few percent of a CT.
    window = foreground_window(mask)
    inner_low, inner_high = (np.array([getattr(edge, side) for edge in window]) for side in ("start", "stop"))
    corners = (_corners(inner_low - 0.5, inner_high - 0.5) @ np.linalg.inv(to_mask).T)[:, :3]
    low = np.clip(np.floor(corners.min(0)), 0, shape).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, low, shape).astype(int)
    placed = np.zeros(shape, dtype=bool)
    if mask[window].size and (high > low).all():
        matrix = to_mask[:3, :3]
        placed[tuple(map(slice, low, high))] = affine_transform(
            mask[window].astype(np.uint8),
            matrix,
            matrix @ low + to_mask[:3, 3] - inner_low,
            tuple(high - low),
            order=0,
            mode="grid-constant",
            prefilter=False,
        )
    return PlacedMask(placed, exact)


def _is_unset(affine: np.ndarray) -> bool:
    """The identity, or what a reader with other axis directions makes of it: unit voxels and no origin."""
    return bool(np.allclose(np.abs(affine[:3, :3]), np.eye(3), atol=1e-4) and np.allclose(affine[:3, 3], 0, atol=1e-4))


def _corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The eight corners of a box as homogeneous points [8,4]."""
    ends = np.stack([low, high])
    return np.array([[*(ends[pick, range(3)]), 1.0] for pick in np.ndindex(2, 2, 2)])


def _within(inner: Sequence[int], to_outer: np.ndarray, outer: Sequence[int]) -> bool:
    """Whether a grid's field of view lies in another's, up to one voxel of the coarser grid.

    `to_outer` [4,4]: index of the inner grid -> index of the outer.
    """
    corners = (_corners(np.full(3, -0.5), np.array(inner) - 0.5) @ to_outer.T)[:, :3]
    slack = np.maximum(1.0, np.abs(to_outer[:3, :3]).sum(1))
    return bool((corners >= -0.5 - slack).all() and (corners <= np.array(outer) - 0.5 + slack).all())

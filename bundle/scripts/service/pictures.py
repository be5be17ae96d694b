"""Slices of a volume as PNG, one pixel a voxel, as a radiologist sees them; a mask as a transparent PNG on top."""

from __future__ import annotations

import numpy as np

from ..images.picture_file import png_bytes
from ..volume.windows import HUWindow
from .failures import ServiceError

PLANES = ("axial", "coronal", "sagittal")
_OPACITY = 110
_COMPRESS_LEVEL = 1  # a person who scrolls waits for each picture


def cut(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """A slice of an LPS volume as it is shown.

    Axial: the patient's right on the left, anterior on top. Coronal: the patient's right on the left; sagittal:
    anterior on the left; superior on top of both.

    Args:
        volume: [X, Y, Z], axes to the patient's left, posterior and superior.
        plane: one of PLANES.
        index: of the axis that the plane cuts: Z, Y or X; 0 is the most inferior, anterior or right slice.

    Returns:
        [rows, columns], a view.

    Raises:
        ServiceError: `unknown_plane` or `unknown_slice`.
    """
    if plane not in PLANES:
        raise ServiceError("unknown_plane", f"there is no plane {plane!r}; legal are {', '.join(PLANES)}.")
    axis = 2 - PLANES.index(plane)
    if not 0 <= index < volume.shape[axis]:
        raise ServiceError("unknown_slice", f"{plane} slice {index} is outside 0..{volume.shape[axis] - 1}.")
    picture = np.moveaxis(volume, axis, 0)[index].T  # take() would copy the whole of a volume in Fortran order
    return picture if plane == "axial" else picture[::-1]


def slice_png(volume: np.ndarray, plane: str, index: int, low: float, high: float) -> bytes:
    """An 8-bit grey PNG.

    Args:
        volume: [X, Y, Z], LPS; HU of a CT.
        plane: see `cut`.
        index: see `cut`.
        low: becomes black.
        high: becomes white.

    Raises:
        ServiceError: as `cut`, or `bad_window`.
    """
    try:
        window = HUWindow([low, high])
    except ValueError as error:
        raise ServiceError("bad_window", f"low={low}, high={high}: low < high, both finite, is legal.") from error
    grey = window(cut(volume, plane, index).astype(np.float32))
    return png_bytes(np.rint(grey * 255).astype(np.uint8), _COMPRESS_LEVEL)


def mask_png(mask: np.ndarray, plane: str, index: int, color: str) -> bytes:
    """An RGBA PNG: transparent but for the mask, whose edge is opaque.

    Args:
        mask: bool [X, Y, Z], LPS.
        plane: see `cut`.
        index: see `cut`.
        color: `#rrggbb`.

    Raises:
        ServiceError: as `cut`.
    """
    marked = cut(mask, plane, index)
    padded = np.pad(marked, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    picture = np.zeros((*marked.shape, 4), dtype=np.uint8)
    picture[marked, :3] = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    picture[..., 3] = np.where(marked, np.where(inner, _OPACITY, 255), 0)
    return png_bytes(picture, _COMPRESS_LEVEL)

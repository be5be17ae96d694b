"""An image as its file stores it, and as a volume of one slice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# EXIF 2.3, tag 0x0112, says where the first row and the first column of the stored pixels lie as the image is seen. For
# each of its values where a step along a stored row leads, and one down a stored column: (to the right, down).
_STEPS = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, 1), (-1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, -1), (1, 0)),
}
UPRIGHT = 1


class StoredImage(NamedTuple):
    """An image as it is stored.

    Args:
        pixels: float32 [C, rows, columns], C is 1 or 3 (red, green, blue), in the values of the file.
        orientation: how to turn them upright, as EXIF counts it, 1 to 8.
        spacing_mm: between rows, between columns of the stored pixels; None: not known.
    """

    pixels: np.ndarray
    orientation: int = UPRIGHT
    spacing_mm: tuple[float, float] | None = None

    @property
    def voxels(self) -> np.ndarray:
        """A volume of one slice on the stored grid: float32 [X, Y, 1] of a grey image, [3, X, Y, 1] of a coloured one;
        X are its columns, Y its rows."""
        voxels = self.pixels.transpose(0, 2, 1)[..., None]
        return voxels[0] if len(voxels) == 1 else voxels

    @property
    def shape(self) -> tuple[int, int, int]:
        """X, Y, 1."""
        return self.pixels.shape[2], self.pixels.shape[1], 1

    @property
    def affine(self) -> np.ndarray:
        """float64 [4, 4], index of such a voxel to RAS+ mm, or to pixels where the spacing is not known.

        What is seen on the right is the patient's left, what is seen below is posterior, as in an axial slice: so what
        turns a volume to LPS turns an image upright, and what brings a mask back brings it to the stored grid.
        """
        row_mm, column_mm = self.spacing_mm or (1.0, 1.0)
        along_row, down_column = (np.array(step, dtype=np.float64) for step in _STEPS[self.orientation])
        lps = np.eye(4)
        lps[:2, 0], lps[:2, 1] = along_row * column_mm, down_column * row_mm
        # The pixel that is seen in the upper left corner lies at 0.
        ends = np.array(self.shape[:2]) - 1
        lps[:2, 3] = -np.minimum(lps[:2, :2] * ends, 0).sum(axis=1)
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps

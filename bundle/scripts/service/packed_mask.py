"""A mask in few bytes: a user may keep many, each with its history."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ..volume.cropped_mask import CroppedMask, Window


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask without the empty space around it, a bit a voxel, deflated.

    Args:
        shape: of the whole grid.
        window: see `CroppedMask`.
        bits: the mask in its window.
    """

    shape: tuple[int, ...]
    window: Window
    bits: bytes

    @classmethod
    def of(cls, mask: np.ndarray) -> PackedMask:
        """Packs a mask of any rank; nonzero is foreground."""
        cropped = CroppedMask.of(mask)
        return cls(cropped.shape, cropped.window, zlib.compress(np.packbits(cropped.inside).tobytes(), level=1))

    def full(self) -> np.ndarray:
        """The mask on the whole grid, bool."""
        inside = [edge.stop - edge.start for edge in self.window]
        bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        voxels = np.unpackbits(bits, count=int(np.prod(inside))).astype(bool).reshape(inside)
        return CroppedMask(self.shape, self.window, voxels).full()

    def slice_ranges(self) -> tuple[tuple[int, int], ...] | None:
        """First and last index of the foreground on each axis; None where there is none."""
        if any(edge.stop == edge.start for edge in self.window):
            return None
        return tuple((edge.start, edge.stop - 1) for edge in self.window)

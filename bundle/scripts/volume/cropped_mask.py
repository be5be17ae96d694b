"""A mask without the empty space around it: an organ fills a few percent of a CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Window = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A mask and where it lies.

    Args:
        shape: of the whole grid.
        window: the bounding box of the foreground, as slices of the grid; all empty for an empty mask.
        inside: bool, the mask in its window.
    """

    shape: tuple[int, ...]
    window: Window
    inside: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> CroppedMask:
        """Crops a mask of any rank; nonzero is foreground."""
        mask = np.asarray(mask) != 0
        window = foreground_window(mask)
        return cls(mask.shape, window, mask[window].copy())

    @property
    def voxels(self) -> int:
        """Number of foreground voxels."""
        return int(np.count_nonzero(self.inside))

    def full(self) -> np.ndarray:
        """The mask on the whole grid, bool."""
        return self.on(tuple(slice(0, length) for length in self.shape))

    def on(self, window: Window) -> np.ndarray:
        """The mask on a window that encloses its own, bool."""
        mask = np.zeros([edge.stop - edge.start for edge in window], dtype=bool)
        if self.inside.size:
            inset = zip(self.window, window, strict=True)
            mask[tuple(slice(own.start - w.start, own.stop - w.start) for own, w in inset)] = self.inside
        return mask


def common_crops(first: CroppedMask, second: CroppedMask) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of one grid on the smallest window that holds both; both without a voxel where both are empty.

    Raises:
        ValueError: the grids have different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"masks lie on grids of shapes {first.shape} and {second.shape}; they must agree.")
    windows = [mask.window for mask in (first, second) if mask.inside.size] or [first.window]
    both = tuple(
        slice(min(edge.start for edge in edges), max(edge.stop for edge in edges))
        for edges in zip(*windows, strict=True)
    )
    return first.on(both), second.on(both)


def foreground_window(mask: np.ndarray) -> Window:
    """The bounding box of a bool mask's foreground as slices; `slice(0, 0)` on every axis for an empty mask."""
    # `scipy.ndimage.find_objects` takes 8 to 30 times as long on the volume of a CT: 0.9 to 2 s instead of 0.1 s.
    window = []
    for axis in range(mask.ndim):
        line = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(line):
            return (slice(0, 0),) * mask.ndim
        window.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(window)

"""From voxel values to the grey values 0..1 that the models see: the one place where a window is applied.

A CT needs no more than fixed limits in HU. A modality without a scale of its own (MR) would get a class beside
:class:`HUWindow`, called in the same way, that takes its limits from the volume.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

Voxels = TypeVar("Voxels", np.ndarray, torch.Tensor)


class HUWindow:
    """Maps HU to 0..1; values outside are clipped.

    One window for the whole volume, never percentiles of a slice: grey values stay comparable between slices.

    Args:
        limits: lower and upper HU, which become 0 and 1; lower < upper.

    Raises:
        ValueError: when the limits are no such pair.
    """

    def __init__(self, limits: Sequence[float]) -> None:
        if not isinstance(limits, Sequence) or len(limits) != 2 or not -np.inf < limits[0] < limits[1] < np.inf:
            raise ValueError(
                f"the window is {limits}; [lower_hu, upper_hu] with lower < upper, both finite, is legal "
                "(config key `window` or an entry of `windows`)"
            )
        self.lower_hu, self.upper_hu = float(limits[0]), float(limits[1])

    def __call__(self, volume_hu: Voxels) -> Voxels:
        """Grey values in 0..1 of an array or tensor in HU, of its shape, kind and, if it is a float, type."""
        return ((volume_hu - self.lower_hu) / (self.upper_hu - self.lower_hu)).clip(0.0, 1.0)


class WindowHUd(MapTransform):
    """Maps HU to 0..1 through one :class:`HUWindow`, or three for three channels.

    Args:
        keys: of MetaTensors [1,...] in HU; each becomes float32 [C,...] in 0..1, C the number of windows.
        windows: one or three pairs (lower, upper) in HU, lower < upper.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        ValueError: when the windows are not one or three increasing pairs, or an item has not exactly one channel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        windows: Sequence[Sequence[float]] = ((-160.0, 240.0),),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(windows) not in (1, 3):
            raise ValueError(f"windows has {len(windows)} entries, {windows}; 1 or 3 of [lower_hu, upper_hu] are legal")
        self.windows = [HUWindow(limits) for limits in windows]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        windowed = dict(data)
        for key in self.key_iterator(windowed):
            volume = windowed[key]
            if volume.shape[0] != 1:
                raise ValueError(f"{key!r} has {volume.shape[0]} channels; one channel in HU is expected")
            channels = [window(volume).float() for window in self.windows]
            windowed[key] = channels[0] if len(channels) == 1 else torch.cat(channels)
        return windowed

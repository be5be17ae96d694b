"""From voxel values to the grey values 0..1 that the models see: the one place where a window is applied.

A CT needs no more than fixed limits in HU. A modality without a scale of its own takes its limits from the volume:
MR, ultrasound and PET by percentiles, pictures by the range of what they can hold. :data:`INTENSITIES` are the choices.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

Voxels = TypeVar("Voxels", np.ndarray, torch.Tensor)

CT, PERCENTILES, FULL_RANGE = INTENSITIES = ("ct", "percentiles", "full_range")
"""What voxel values are, config key `intensity`. HU: shown through fixed windows. Any scale: shown from the 0.5th to
the 99.5th percentile of the volume; or from the lowest to the highest value, 0 to 255 where all are whole numbers of 8
bits."""

# Of all shown voxels. As nnU-Net and MedSAM have it; a bright vessel or a metal artefact is cut off.
_PERCENTILES = (0.5, 99.5)
_MOST_SAMPLED = 2_000_000


def checked_intensity(intensity: str) -> str:
    """`intensity`, if it is one of `INTENSITIES`.

    Raises:
        ValueError: it is another.
    """
    if intensity not in INTENSITIES:
        raise ValueError(f"intensity is {intensity!r}; {', '.join(INTENSITIES)} are legal (config key `intensity`)")
    return intensity


def limits_of(volume: np.ndarray | torch.Tensor, intensity: str) -> tuple[float, float]:
    """The values of a volume that become 0 and 1.

    They are those of all its slices and channels together, never of a slice: grey values stay comparable between
    slices, and colours keep their hue.

    Args:
        volume: of any shape, finite and not constant.
        intensity: "percentiles" or "full_range", see `INTENSITIES`.

    Returns:
        lower and upper, lower < upper. Percentiles that coincide (a small bright object on nothing) give way to the
        lowest and the highest value.
    """
    values = np.asarray(volume).reshape(-1)
    low, high = float(values.min()), float(values.max())
    if intensity == PERCENTILES:
        sampled = values[:: max(1, values.size // _MOST_SAMPLED)]
        lower, upper = (float(limit) for limit in np.percentile(sampled, _PERCENTILES))
        return (lower, upper) if lower < upper else (low, high)
    is_8_bit = low >= 0 and high <= 255 and bool((values == np.rint(values)).all()) and high > 1
    return (0.0, 255.0) if is_8_bit else (low, high)


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
            windowed[key] = self._windowed(key, windowed[key])
        return windowed

    def _windowed(self, key: Hashable, volume: MetaTensor) -> MetaTensor:
        if volume.shape[0] != 1:
            raise ValueError(f"{key!r} has {volume.shape[0]} channels; one channel in HU is expected")
        channels = [window(volume).float() for window in self.windows]
        return channels[0] if len(channels) == 1 else torch.cat(channels)


class WindowIntensityd(WindowHUd):
    """Maps voxel values of any modality to 0..1: a CT as :class:`WindowHUd` does, others by :func:`limits_of`.

    An image of another modality keeps its channels, one or three (red, green, blue), and its `meta` receives
    `window_limits` float64 [2], the values that became 0 and 1: a picture of it is drawn with the same.

    Args:
        keys: of MetaTensors [C,...]; each becomes float32 in 0..1.
        intensity: one of `INTENSITIES`.
        windows: of a CT, see :class:`WindowHUd`; not used for others.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        ValueError: an unknown intensity; what :class:`WindowHUd` raises.
    """

    def __init__(
        self,
        keys: KeysCollection,
        intensity: str = CT,
        windows: Sequence[Sequence[float]] = ((-160.0, 240.0),),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, windows, allow_missing_keys)
        self.intensity = checked_intensity(intensity)

    def _windowed(self, key: Hashable, volume: MetaTensor) -> MetaTensor:
        if self.intensity == CT:
            return super()._windowed(key, volume)
        limits = limits_of(volume.as_tensor().cpu().numpy(), self.intensity)
        shown = HUWindow(limits)(volume).float()
        shown.meta["window_limits"] = np.array(limits)
        return shown

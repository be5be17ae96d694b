"""What the values of a volume tell: whether they can be HU, whether they are labels."""

from __future__ import annotations

import numpy as np

# HU. A scanner's air is at -1000 and its noise below; what is far below is padding, of any value.
_PADDING_BELOW = -1100.0
_AIR_BELOW = -700.0  # lung included
_FAT_BELOW = -30.0
_BRIGHT_ABOVE = 300.0  # bone, contrast agent, metal
_LEAST_SPAN = 50.0  # the noise of a CT alone spans more
_FEW = 0.001  # share of voxels
_MANY_BRIGHT = 0.25  # hardly any region of a body has so much bone
_SAMPLE = 1_000_000  # voxels that are looked at

# Rounding of another tool leaves far less; soft edges have values in between.
_ALLOWED_ROUNDING = 1e-3


def doubt_of_hu(volume: np.ndarray) -> str | None:
    """Why the values of an image cannot be HU, judged by their distribution; None where they can.

    A CT shows air near -1000, or at least fat near -100, and little above 300. One voxel of the right value is no
    sign of HU, nor is padding.

    Args:
        volume: finite, of any shape.
    """
    values = volume.ravel(order="K")[:: max(1, volume.size // _SAMPLE)]
    values = values[values > _PADDING_BELOW]
    if not values.size:
        return f"all of it lies below {_PADDING_BELOW:g}, where a CT has padding alone"
    if np.ptp(values) < _LEAST_SPAN:
        return f"it spans {np.ptp(values):.3g} alone, like normalised values (0..1, z-scores)"
    if np.mean(values < _FAT_BELOW) < _FEW:
        return (
            "nothing lies near -1000 (air) or -100 (fat), like stored values without the rescale intercept, or another "
            "modality"
        )
    bright = np.mean(values > _BRIGHT_ABOVE)
    if np.mean(values < _AIR_BELOW) < _FEW and bright > _MANY_BRIGHT:
        return f"nothing lies near -1000 (air) and {bright:.0%} above 300 (bone), like another modality, for example MR"
    return None


def looks_like_hu(volume: np.ndarray) -> bool:
    """Whether an image that is said to be of another modality has the values of a CT: air or lung near -1000 as well as
    what `doubt_of_hu` asks for.

    Args:
        volume: finite, of any shape.
    """
    values = volume.ravel(order="K")[:: max(1, volume.size // _SAMPLE)]
    air = np.mean((values > _PADDING_BELOW) & (values < _AIR_BELOW))
    return bool(air >= _FEW) and doubt_of_hu(volume) is None


def rounded_labels(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A label map with whole values, and where it had others.

    Args:
        volume: finite float values; those within 0.001 of a whole number are it (0.9999, a background of 1e-7).

    Returns:
        The rounded values, of the volume's shape and type; and a bool array, where a value was no whole number: a soft
        edge, a probability, or interpolated labels.
    """
    rounded = np.rint(volume)
    return rounded, np.abs(volume - rounded) > _ALLOWED_ROUNDING

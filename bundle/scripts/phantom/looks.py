"""A slice of a phantom as ten modalities might show it: looks to learn from, not simulations of physics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..volume.windows import HUWindow

Look = Callable[[np.ndarray, np.random.Generator], np.ndarray]
_WINDOW = HUWindow((-160.0, 240.0))


def look_of(modality: str, slice_hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture of a slice.

    Args:
        modality: one of `MODALITIES`.
        slice_hu: [H, W] in HU.
        rng: of speckle and noise.

    Returns:
        uint8 [H, W] of a grey modality, [H, W, 3] (red, green, blue) of a coloured one.

    Raises:
        ValueError: an unknown modality.
    """
    if modality not in _LOOKS:
        raise ValueError(f"modality is {modality!r}; {', '.join(MODALITIES)} are legal")
    return np.rint(np.clip(_LOOKS[modality](_WINDOW(slice_hu), rng), 0.0, 1.0) * 255).astype(np.uint8)


def _ct(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return grey


def _mr(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other contrast than a CT (bone is dark), and a coil that is brighter on one side."""
    contrast = np.interp(grey, [0.0, 0.15, 0.5, 0.75, 1.0], [0.02, 0.75, 0.35, 0.9, 0.1])
    return contrast * np.linspace(0.7, 1.1, grey.shape[1]) + rng.normal(0, 0.03, grey.shape)


def _xray(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(grey, 1.0) ** 0.7 * 0.8 + rng.normal(0, 0.02, grey.shape)


def _ultrasound(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speckle, that grows weaker with depth."""
    depth = np.linspace(1.1, 0.5, grey.shape[0])[:, None]
    return ndimage.gaussian_filter(grey * rng.rayleigh(0.8, grey.shape), 0.6) * depth


def _pet(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1.0 - ndimage.gaussian_filter(grey, 2.0) ** 2


def _oct(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.6 * ndimage.gaussian_filter1d(grey + rng.normal(0, 0.3, grey.shape), 2.0, axis=1) + 0.1


def _fundus(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _coloured(grey, dark=(0.25, 0.05, 0.02), bright=(0.95, 0.55, 0.25))


def _dermoscopy(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _coloured(1 - grey, dark=(0.35, 0.2, 0.15), bright=(0.95, 0.75, 0.65)) + _grain(grey, rng)


def _endoscopy(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lit from the middle."""
    y, x = (np.linspace(-1, 1, side) for side in grey.shape)
    light = np.clip(1.2 - 0.6 * np.hypot(y[:, None], x[None, :]), 0.2, 1.0)
    return _coloured(grey, dark=(0.3, 0.02, 0.02), bright=(1.0, 0.6, 0.5)) * light[..., None]


def _microscopy(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _coloured(grey, dark=(0.4, 0.2, 0.55), bright=(0.98, 0.85, 0.93)) + _grain(grey, rng)


def _coloured(grey: np.ndarray, dark: tuple[float, float, float], bright: tuple[float, float, float]) -> np.ndarray:
    """From one colour to another, as the grey values go from 0 to 1."""
    return np.array(dark) + grey[..., None] * (np.array(bright) - np.array(dark))


def _grain(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 0.03, (*grey.shape, 1))


_LOOKS: dict[str, Look] = {
    "CT": _ct,
    "MRI": _mr,
    "X-ray": _xray,
    "ultrasound": _ultrasound,
    "PET": _pet,
    "OCT": _oct,
    "fundus photography": _fundus,
    "dermoscopy": _dermoscopy,
    "endoscopy": _endoscopy,
    "microscopy": _microscopy,
}
MODALITIES = tuple(_LOOKS)

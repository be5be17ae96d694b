"""Frames of a volume: what another scanner, table or range might have shown of the same patient."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ..volume.body_crop import AIR_HU, body_crop
from ..volume.geometry import cropped, uniform_slice_index
from ..volume.windows import HUWindow


class LabelledVolume(NamedTuple):
    """A patient to draw frames from.

    Attributes:
        image: int16 [Z, H, W] in HU, rows to posterior, columns to the patient's left, slices to superior.
        label: uint8 [Z, H, W].
        labeled: the ids that were drawn in this patient, whether the map shows them or not.
        pixel_mm: distance between rows, and between columns.
        subset: whose queries are asked, a key of `queries.concepts.CONCEPTS`.
    """

    image: np.ndarray
    label: np.ndarray
    labeled: frozenset[int]
    pixel_mm: float
    subset: str


def draw_frame(
    volume: LabelledVolume, num_slices: int, size: int, window: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a volume, moved, stretched, and in other grey values; never mirrored, for sides have names.

    Args:
        volume: the patient.
        num_slices: S, spread uniformly over a random range along the body.
        size: of a slice, pixels; the square around the body, give or take, becomes a slice.
        window: lower and upper HU that become 0 and 255.
        rng: the only source of chance.

    Returns:
        uint8 [S, size, size] grey values, and uint8 of the same shape, the label map.
    """
    low, high = _range(len(volume.image), num_slices, rng)
    where = np.linspace(low, high, num_slices)
    # As many slices are shown as they are or, like a scan of another slice thickness, between two of them.
    if high - low >= num_slices - 1 and rng.random() < 0.7:
        where = where.round()
    below = np.floor(where).astype(int)
    above = np.minimum(below + 1, len(volume.image) - 1)
    fraction = torch.from_numpy((where - below).astype(np.float32))[:, None, None]
    image = torch.lerp(
        torch.from_numpy(volume.image[below]).float(), torch.from_numpy(volume.image[above]).float(), fraction
    )
    label = torch.from_numpy(volume.label[np.where(where - below < 0.5, below, above)]).float()
    grid = _grid(image.numpy(), volume.pixel_mm, size, rng)
    # What lies beyond the slices is padded with zeros: air, once it is taken as the zero.
    image = F.grid_sample((image - AIR_HU)[None], grid, align_corners=False)[0] + AIR_HU
    label = F.grid_sample(label[None], grid, mode="nearest", align_corners=False)[0]
    return _grey_values(image, window, rng), label.to(torch.uint8).numpy()


def _range(num_total: int, num_slices: int, rng: np.random.Generator) -> tuple[int, int]:
    """First and last slice: half of the times all that there are."""
    if rng.random() < 0.5:
        return 0, num_total - 1
    fewest = min(num_total, max(num_slices // 2, round(0.25 * num_total)))
    count = int(rng.integers(fewest, num_total + 1))
    low = int(rng.integers(0, num_total - count + 1))
    return low, low + count - 1


def _grid(image_hu: np.ndarray, pixel_mm: float, size: int, rng: np.random.Generator) -> torch.Tensor:
    """float32 [1, size, size, 2] for `grid_sample`: the square around the body, moved a little."""
    height, width = image_hu.shape[1:]
    # Every third slice at half the resolution finds the body as well, and ten times as fast.
    square = body_crop(image_hu[::3, ::2, ::2], 2 * pixel_mm, 2 * pixel_mm)
    left, top, right, bottom = (2 * edge for edge in square) if square else (0, 0, width, height)
    loose = rng.uniform(1.25, 1.9) if rng.random() < 0.1 else rng.uniform(0.93, 1.15)
    side = (right - left) * loose
    center = np.array((left + right, top + bottom)) / 2 + rng.normal(0, 0.02, 2) * side
    stretch = math.exp(rng.normal(0, 0.05))
    angle = math.radians(rng.normal(0, 4))
    cosine, sine = math.cos(angle), math.sin(angle)
    # From the frame's -1..1 to the slice's: rotation, then half a side in pixels, then pixels to -1..1.
    half_x, half_y = side * stretch / 2, side / stretch / 2
    theta = torch.tensor(
        [
            [half_x * cosine * 2 / width, -half_y * sine * 2 / width, center[0] * 2 / width - 1],
            [half_x * sine * 2 / height, half_y * cosine * 2 / height, center[1] * 2 / height - 1],
        ],
        dtype=torch.float32,
    )
    return F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)


def _grey_values(image: torch.Tensor, window: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """uint8 [S, H, W] of HU: other resolution and contrast, then the window."""
    size = image.shape[1:]
    if rng.random() < 0.3:
        image = F.interpolate(image[None], scale_factor=rng.uniform(0.4, 0.9), mode="area")
        image = F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)[0]
    soft = 40.0
    image = (image - soft) * math.exp(rng.normal(0, 0.12)) + soft + rng.normal(0, 12)
    shown = HUWindow(window)(image)
    if rng.random() < 0.3:
        shown = shown ** math.exp(rng.normal(0, 0.2))
    return (255 * shown).round().to(torch.uint8).numpy()


def whole_frame(
    volume: LabelledVolume, num_slices: int, size: int, window: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The frame that inference would show: all of the range, cropped to the body.

    Args:
        volume: the patient.
        num_slices: S at most.
        size: of a slice, pixels.
        window: lower and upper HU that become 0 and 1.

    Returns:
        float32 [S, size, size] in 0..1, and uint8 of the same shape, the label map.
    """
    shown = uniform_slice_index(len(volume.image), num_slices)
    image, label = volume.image[shown].astype(np.float32), volume.label[shown]
    square = body_crop(image, volume.pixel_mm, volume.pixel_mm) or (0, 0, *image.shape[:0:-1])
    slices = cropped(torch.from_numpy(image), square, AIR_HU)[None]
    slices = F.interpolate(slices, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    marks = F.interpolate(cropped(torch.from_numpy(label), square)[None], size=(size, size), mode="nearest-exact")[0]
    return HUWindow(window)(slices), marks

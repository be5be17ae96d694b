"""Label volumes of random, organ-like shapes, and random pictures of them: training data that knows no organ.

A propagator has to follow whatever the box holds. It learns that from shapes without names under random intensities:
domain randomisation, as in SynthSeg (Billot et al. 2023, arXiv:2107.09559) and AnyStar (Dey et al. 2024,
arXiv:2307.07044).

Letters: D slices, R rows and columns of a volume; B volumes, T slices, R rows and columns of a rendered batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

MAX_LABELS = 40  # labels are 0 air, 1 and 2 the body's two tissues, 3.. the shapes
FIRST_SHAPE = 3
_KINDS = {"blob": 0.30, "lobes": 0.20, "crescent": 0.16, "bean": 0.14, "tube": 0.14, "shell": 0.06}
_NOISE_WIDTHS = ((1.5, 3, 3), (2.5, 6, 6), (4, 11, 11))  # smoothing in voxels along slices, rows, columns


class RandomShapes:
    """Draws label volumes.

    Args:
        rng: all randomness comes from it.
        shape: D, R, R of a volume.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int] = (26, 112, 112)) -> None:
        self._rng, self._shape = rng, shape
        self._grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
        self._noise = [self._smooth_noise(widths) for widths in _NOISE_WIDTHS]

    def volume(self) -> np.ndarray:
        """One label volume, uint8 [D,R,R]; about 20 ms."""
        rng = self._rng
        labels = self._body()
        inside = np.argwhere(labels > 0)
        for label in range(FIRST_SHAPE, FIRST_SHAPE + int(rng.integers(9, 22))):
            shape = self._shape_mask(inside[rng.integers(len(inside))]) & (labels > 0)
            if rng.random() < 0.65:  # lies against what is there; else it cuts into it or lies within it
                shape &= labels < FIRST_SHAPE
            if shape.sum() >= 40:
                labels[shape] = label
        return labels

    def _smooth_noise(self, widths: tuple[float, ...]) -> np.ndarray:
        """Unit-variance field, larger than a volume so that every use sees another crop."""
        margin = [n + n // 2 for n in self._shape]
        field = gaussian_filter(self._rng.standard_normal(margin, dtype=np.float32), widths, mode="wrap")
        return field / field.std()

    def _noise_crop(self, width: int, shape: tuple[int, ...]) -> np.ndarray:
        starts = [self._rng.integers(0, n - m + 1) for n, m in zip(self._noise[width].shape, shape, strict=True)]
        return self._noise[width][tuple(slice(a, a + m) for a, m in zip(starts, shape, strict=True))]

    def _body(self) -> np.ndarray:
        """A roundish body with a rim of tissue 1 and, inside, tissue 2 or 1."""
        rng, (_, y, x) = self._rng, self._grid
        side = self._shape[1]
        center = side / 2 + rng.normal(0, 0.036 * side, 2)
        radii = side * rng.uniform((0.30, 0.38), (0.48, 0.52))
        distance = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2
        rim = rng.uniform(0.05, 0.4)
        labels = np.zeros(self._shape, np.uint8)
        labels[distance + 0.05 * self._noise_crop(2, self._shape) < 1] = 1
        labels[distance + 0.05 * self._noise_crop(1, self._shape) < 1 - rim] = 2
        if rng.random() < 0.5:  # fat again inside a wall of muscle
            labels[distance + 0.03 * self._noise_crop(2, self._shape) < 1 - rim - rng.uniform(0, 0.2)] = 1
        return labels

    def _shape_mask(self, center: np.ndarray) -> np.ndarray:
        """One shape around a voxel `center` (slice, row, column), bool [D,R,R]."""
        rng = self._rng
        kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
        if kind == "tube":
            return self._tube(center)
        side = self._shape[1]
        radius = side * float(np.exp(rng.uniform(np.log(0.036), np.log(0.20))))
        blob = _Blob(
            center=center.astype(float),
            radii=np.array([rng.uniform(2.5, 11), radius * rng.uniform(0.45, 1), radius]),
            angle=rng.uniform(0, np.pi),
            drift=rng.normal(0, 0.45, 2),
            power=float(rng.choice([2.0, 2.0, 1.4, 3.0, 5.0])),
            roughness=float(rng.choice([0.1, 0.25, 0.45, 0.7])),
            noise=int(rng.integers(3 if radius > 0.07 * side else 2)),
        )
        mask = np.zeros(self._shape, bool)
        self._paint(mask, blob)
        if kind == "lobes":
            for _ in range(rng.integers(1, 4)):
                shift = np.array([rng.normal(0, 0.4) * blob.radii[0], *self._around(rng.uniform(0.5, 1.1) * radius)])
                radii = blob.radii[[0, 2, 2]] * rng.uniform((0.5, 0.3, 0.35), (1.0, 0.7, 0.8))
                lobe = blob._replace(center=blob.center + shift, radii=radii, angle=rng.uniform(0, np.pi), power=2.0)
                self._paint(mask, lobe)
        elif kind in ("crescent", "bean"):
            big = kind == "crescent"
            shift = np.array([0, *self._around(radius * (rng.uniform(0.5, 0.9) if big else rng.uniform(0.7, 1.0)))])
            bite = radius * (rng.uniform(0.6, 1.0) if big else rng.uniform(0.25, 0.45))
            depth = blob.radii[0] * (2 if big else rng.uniform(0.6, 2))
            radii = np.array([depth, bite * rng.uniform(0.7, 1), bite])
            self._paint(mask, blob._replace(center=blob.center + shift, radii=radii, power=2.0), erase=True)
        elif kind == "shell":
            self._paint(mask, blob._replace(radii=blob.radii * (0.9, 0.8, 0.82)), erase=True)
        return mask

    def _around(self, distance: float) -> tuple[float, float]:
        angle = self._rng.uniform(0, 2 * np.pi)
        return distance * np.sin(angle), distance * np.cos(angle)

    def _paint(self, mask: np.ndarray, blob: _Blob, *, erase: bool = False) -> None:
        """Set or erase a blob within its bounding box: a superellipse whose border is displaced by noise."""
        depth, rows, columns = blob.radii
        reach = 1.6 * max(rows, columns) + np.abs(blob.drift).max() * depth * 1.2
        box = tuple(
            slice(int(max(0, c - r)), int(min(n, c + r + 1)))
            for c, r, n in zip(blob.center, (1.4 * depth, reach, reach), self._shape, strict=True)
        )
        z, y, x = (axis[box] for axis in self._grid)
        if z.size == 0:
            return
        z = z - blob.center[0]
        y = y - blob.center[1] - blob.drift[0] * z
        x = x - blob.center[2] - blob.drift[1] * z
        cosine, sine = np.cos(blob.angle), np.sin(blob.angle)
        u, v = np.abs(x * cosine + y * sine) / columns, np.abs(y * cosine - x * sine) / rows
        flat = u * u + v * v if blob.power == 2 else (u**blob.power + v**blob.power) ** (2 / blob.power)
        border = (1 + blob.roughness * self._noise_crop(blob.noise, z.shape)).clip(0.15, 2.2)
        inside = flat + (z / depth) ** 2 < border
        mask[box] = mask[box] & ~inside if erase else mask[box] | inside

    def _tube(self, center: np.ndarray) -> np.ndarray:
        """A vessel: an ellipse that wanders from slice to slice and changes its calibre."""
        rng, (depth, side, _) = self._rng, self._shape
        radius, length = side * rng.uniform(0.02, 0.065), rng.uniform(5, depth)
        path = gaussian_filter(np.cumsum(rng.normal(0, 0.7, (depth, 2)), 0), (1.5, 0))
        path += center[1:] - path[center[0]]
        radii = radius * (1 + 0.5 * gaussian_filter(rng.standard_normal(depth), 2)).clip(0.4, 2)
        y, x = (axis - path[:, k, None, None] for k, axis in enumerate(self._grid[1:]))
        angle, flatness = rng.uniform(0, np.pi), rng.uniform(0.45, 1) ** 0.5
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = u**2 + (v / flatness) ** 2 < radii[:, None, None] ** 2
        return inside & (np.abs(self._grid[0] - center[0]) <= length / 2)


class _Blob(NamedTuple):
    """Center and radii along (slice, row, column); angle in the plane; drift of the center in rows, columns a slice."""

    center: np.ndarray
    radii: np.ndarray
    angle: float
    drift: np.ndarray
    power: float
    roughness: float
    noise: int


def render(labels: Tensor, generator: torch.Generator, ct_share: float = 0.6) -> Tensor:
    """A random picture of label volumes: intensity and texture a label, blur, noise, bias field.

    Args:
        labels: uint8 [B,T,R,R], below `MAX_LABELS`.
        generator: all randomness comes from it.
        ct_share: share of volumes with intensities like a CT in a soft-tissue window; the others have any.

    Returns:
        float32 [B,T,R,R] in 0..1, in steps of 1/255.
    """
    count, depth, rows, columns = labels.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    like_ct = uniform(count) < ct_share
    table = torch.where(like_ct[:, None], _ct_intensities(count, uniform), _any_intensities(count, uniform))
    texture = uniform(count, MAX_LABELS) * torch.where(like_ct, 10.0, 22.0)[:, None]
    index = labels.reshape(count, -1).long()
    grain = int(torch.randint(6, 28, (1,), generator=generator))
    field = torch.randn(count, depth, grain, grain, generator=generator)
    field = F.interpolate(field, size=(rows, columns), mode="bilinear", align_corners=False)
    image = table.gather(1, index).view_as(field) + texture.gather(1, index).view_as(field) * field
    out = torch.empty_like(image)
    for b in range(count):
        picture = image[b, :, None]
        if uniform(1) < 0.9:
            picture = _blurred(picture, 0.4 + 0.7 * float(uniform(1)))
        noise = torch.randn(picture.shape, generator=generator)
        grain_width = float(uniform(1))
        if grain_width < 0.7:  # reconstructed CT noise is correlated
            noise = _blurred(noise, 0.6 + 0.6 * grain_width)
            noise = noise / noise.std()
        out[b] = (picture + noise * (2 + 16 * float(uniform(1)) ** 1.5))[:, 0]
    bias = torch.randn(count, 1, 2, 2, generator=generator)
    out += 6 * F.interpolate(bias, size=(rows, columns), mode="bilinear", align_corners=True)
    return out.clamp(0, 255).round() / 255


def _ct_intensities(count: int, uniform) -> Tensor:
    """[count,MAX_LABELS] in 0..255: organs, some gas, some bone, some fat; air and the body's fat and muscle first."""
    table = 105 + 100 * uniform(count, MAX_LABELS)
    table = torch.where(uniform(count, MAX_LABELS) < 0.12, 20 * uniform(count, MAX_LABELS), table)
    table = torch.where(uniform(count, MAX_LABELS) < 0.12, 215 + 40 * uniform(count, MAX_LABELS), table)
    table = torch.where(uniform(count, MAX_LABELS) < 0.10, 15 + 60 * uniform(count, MAX_LABELS), table)
    table[:, 0], table[:, 1], table[:, 2] = 8 * uniform(count), 12 + 45 * uniform(count), 110 + 40 * uniform(count)
    return table


def _any_intensities(count: int, uniform) -> Tensor:
    """[count,MAX_LABELS] in 0..255, uniform; half of the volumes keep a dark background."""
    table = 255 * uniform(count, MAX_LABELS)
    table[:, 0] = torch.where(uniform(count) < 0.5, 25 * uniform(count), table[:, 0])
    return table


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [T,1,R,R] within the slices."""
    radius = max(1, int(3 * sigma + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    image = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="replicate"), kernel[None, None, None])
    return F.conv2d(F.pad(image, (0, 0, radius, radius), mode="replicate"), kernel[None, None, :, None])

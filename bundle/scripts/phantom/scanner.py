"""How a patient is scanned: range, field of view and grid, blur and noise."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

LONGEST_MM = 599.0  # 120 slices of 5 mm
_MOST_VOXELS = 5e6


class Scan(NamedTuple):
    """How the patient lies in the scanner.

    Attributes:
        scale: true mm per mm of the standard patient.
        low_z, high_z: the range, mm of the standard patient.
        field_mm: side of the field of view, true mm.
        shift_mm: of the field's centre in x and y, mm of the standard patient.
        roll_rad: how far the patient is turned about the long axis.
        stretch: of the patient in x and y, beside `scale`.
        warp_mm: the largest shift of the control points of the patient's warp.
    """

    scale: float
    low_z: float
    high_z: float
    field_mm: float
    shift_mm: tuple[float, float]
    roll_rad: float
    stretch: tuple[float, float] = (1.0, 1.0)
    warp_mm: float = 20.0


def draw_scan(subset: str, fat_mm: float, rng: np.random.Generator) -> Scan:
    """Size, pose and range of a scan; the range is in mm of the standard patient."""
    scale, roll = rng.uniform(0.82, 1.08), np.deg2rad(rng.normal(0, 3.5))
    shift = tuple(rng.normal(0, 7, 2))
    low, high, margin, head, short = rng.random(5)
    if subset == "organs":
        low_z, high_z = -60 - 80 * low, 130 + 45 * high
    elif subset == "renal":
        low_z, high_z = -75 - 50 * low, 70 + 70 * high
    elif head < 0.5:
        scale *= 0.75  # head to pelvis in a scan of `LONGEST_MM`: a small patient
        low_z, high_z = -285 + 40 * low, 430 + 80 * high
    else:
        low_z, high_z = -290 + 45 * low, 200 + 85 * high
    if subset == "whole_body" and short < 0.05:
        low_z = -150.0  # the scan ends above the bladder
    scale = min(scale, LONGEST_MM / (high_z - low_z))
    # Chest and hips are the widest; the body sometimes leaves the field of view a little.
    widest = 290 if subset == "whole_body" else 278
    field_mm = (widest + 2 * fat_mm + 40 * margin) * scale
    return Scan(scale, low_z, high_z, field_mm, shift, float(roll))


def draw_shape(scan: Scan, rng: np.random.Generator) -> tuple[int, int, int]:
    """A clinical grid for the field of view: in plane 0.6-1.5 mm, 1-5 mm between slices, 20-120 slices."""
    in_plane, thickness = rng.uniform(0.75, 1.49), np.exp(rng.uniform(0, np.log(5.0)))
    length = (scan.high_z - scan.low_z) * scan.scale
    fewest_slices, fewest_columns = max(20, int(np.ceil(length / 5))), int(np.ceil(scan.field_mm / 1.5))
    # A finer grid in one direction is coarser in the other: painting takes time.
    most_columns = int((_MOST_VOXELS / fewest_slices) ** 0.5)
    columns = max(fewest_columns, min(int(scan.field_mm / in_plane), most_columns, 336))
    rows = columns if rng.random() < 0.7 else columns + int(rng.integers(1, 24))
    most_slices = min(120, int(length), int(_MOST_VOXELS / (columns * rows)))
    slices = max(fewest_slices, min(int(length / thickness), most_slices))
    return columns, rows, slices


def acquire(image: np.ndarray, in_plane_mm: float, thickness_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Blur and noise of the scanner on [Z,Y,X] HU."""
    noise = rng.uniform(6, 22) * (1.3 / max(in_plane_mm, 1.3)) ** 0.5
    if thickness_mm < 8:
        # Neighbouring slices overlap a little: partial volume along the body.
        mixed = image * np.float32(0.8)
        mixed[1:] += np.float32(0.1) * image[:-1]
        mixed[:-1] += np.float32(0.1) * image[1:]
        mixed[0] += np.float32(0.1) * image[0]
        mixed[-1] += np.float32(0.1) * image[-1]
        image = mixed
    # Uniform noise is cheap, and the blur makes it bell-shaped; 12 ** 0.5 is the inverse of its standard deviation.
    grain = rng.random(image.shape, dtype=np.float32)
    grain -= 0.5
    grain *= np.float32(1.8 * noise * 12**0.5)
    image = np.add(image, grain, out=grain)
    sigma = rng.uniform(0.45, 0.7)
    image = gaussian_filter(image, (0, sigma, sigma), truncate=2.5, mode="nearest")
    return np.clip(image, -1024, 1500, out=image)

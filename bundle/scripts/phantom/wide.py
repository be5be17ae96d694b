"""The subset `wide`: any patient, any field of view, any scanner, so that an organ is known by its look, not its place.

The other subsets show the same range of a body that fills the slice; what learns from them alone reads the place of an
organ off the frame. Here all of that is drawn: a range of 60 mm up to the whole body, width and depth of the patient,
arms, table, contrast of each organ, noise and blur.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from .anatomy import PHASES, Patient, draw_patient
from .canvas import Canvas
from .scanner import LONGEST_MM, Scan

# What there is to see of the standard patient, mm: hips to the crown.
_LOWEST_Z, _HIGHEST_Z = -300.0, 510.0
_ABDOMEN_Z = (-240.0, 180.0)
_SHORTEST_MM = 60.0


def draw_wide_patient(rng: np.random.Generator) -> Patient:
    """A patient between two contrast phases, thin or fat, each organ's HU and each kidney's place drawn more freely."""
    patient = draw_patient(rng)
    # A third without contrast: there organs differ least.
    phases = np.where(rng.random(2) < 0.35, 0, rng.integers(0, 4, 2))
    between = rng.random()
    hu = {
        name: float(np.interp(between, (0, 1), np.take(values, phases)) * rng.normal(1, 0.08) + rng.normal(0, 5))
        for name, values in PHASES.items()
    }
    if rng.random() < 0.15:
        hu["liver"] -= rng.uniform(5, 50)  # fatty
    places = {
        side: tuple(np.add(place, rng.normal(0, 1, 3) * (3, 4, 12)).tolist()) for side, place in patient.kidneys.items()
    }
    fat_mm, visceral_mm = rng.uniform(3, 45), rng.uniform(1, 12)
    return replace(patient, hu=hu, fat_mm=fat_mm, visceral_mm=visceral_mm, kidneys=places)


def draw_wide_scan(fat_mm: float, rng: np.random.Generator) -> Scan:
    """Size and pose, a range from 60 mm to the whole body, a field of view that cuts the body or leaves much air."""
    scale, stretch = rng.uniform(0.7, 1.15), np.exp(rng.normal(0, 0.05, 2))
    longest = min(_HIGHEST_Z - _LOWEST_Z, LONGEST_MM / scale)
    length = np.exp(rng.uniform(np.log(_SHORTEST_MM / scale), np.log(longest)))
    # Most scans have something of the abdomen, where most organs with labels lie.
    centre = rng.uniform(*(_ABDOMEN_Z if rng.random() < 0.6 else (_LOWEST_Z, _HIGHEST_Z)))
    low_z = float(np.clip(centre - length / 2, _LOWEST_Z, _HIGHEST_Z - length))
    body_mm = (280 + 2 * fat_mm) * scale * stretch.max()
    field_mm = body_mm * rng.uniform(0.92, 1.5)
    spare_mm = max(field_mm - body_mm, 20.0) / scale
    return Scan(
        scale,
        low_z,
        low_z + length,
        field_mm,
        shift_mm=tuple(rng.uniform(-0.4, 0.4, 2) * spare_mm),
        roll_rad=float(np.deg2rad(rng.normal(0, 5))),
        stretch=tuple(stretch.tolist()),
        warp_mm=rng.uniform(8, 30),
    )


def paint_arms(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Arms beside the body, raised beside the head, or out of sight, in the air that is left; maybe a flat board."""
    pose, gap, radius, board = rng.random(), rng.uniform(-6, 14), rng.uniform(34, 48), rng.random()
    out = 148 + patient.fat_mm + gap + radius
    beside = ((out - 30, 14, 285), (out, 12, 180), (out + 6, 0, -40), (out - 20, -40, -260))
    raised = ((out - 45, 14, 270), (out - 60, 0, 380), (out - 80, -20, 520))
    path = beside if pose < 0.25 else raised if pose < 0.6 else None
    for sign in (-1, 1) if path else ():
        points = np.array(path) * (sign, 1, 1)
        radii = np.linspace(radius, 0.7 * radius, len(points))
        region, arm = canvas.tube(points, radii, halo=20)
        outside = np.where(canvas.image[region.where] < -700, np.float32(0), np.float32(-1e3))
        arm += outside
        canvas.paint(region, arm, -95.0)
        canvas.paint(region, arm - 2 - 0.25 * patient.fat_mm, patient.hu["muscle"])
        canvas.paint(region, arm - radii.mean() + 11, 500.0)
    if board < 0.4:
        back = 116 + 1.5 * patient.fat_mm + 60 * board
        region = canvas.region((0, back, 0), (230, 20, 1e4))
        sheet = np.float32(3 + 20 * board) - np.abs(region.y - back)
        outside = np.where(canvas.image[region.where] < -700, sheet, np.float32(-100))
        canvas.paint(region, outside, -700.0 + 2000 * board)


def acquire_wide(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thick slices, blur and noise of any scanner and kernel on [Z,Y,X] HU; the noise is grainy or smooth."""
    blur, grain = rng.uniform(0.0, 0.9) ** 2, rng.uniform(0.4, 1.1)
    deviation = np.exp(rng.uniform(np.log(3.0), np.log(35.0)))
    sigma = (rng.uniform(0.0, 0.7), blur, blur)
    image = gaussian_filter(image, sigma, truncate=2.5, mode="nearest")
    noise = gaussian_filter(
        rng.random(image.shape, dtype=np.float32), (0, grain, grain), truncate=2.0, mode="wrap", output=np.float32
    )
    noise -= np.float32(0.5)
    noise *= np.float32(deviation / max(float(noise.std()), 1e-6))
    noise += image
    noise += np.float32(rng.normal(0, 4))  # calibration
    return np.clip(noise, -1024, 1500, out=noise)

"""Tumors and cysts of the kidneys. Units and frame as in `anatomy`."""

import numpy as np

from .anatomy import IDS, Patient
from .canvas import Canvas, draw_bumps, ellipsoid

# Half-axes of a kidney on which lesions sit (mm); a little inside its surface so that each lesion touches it.
_SEAT = np.array((20.0, 24.0, 46.0))


def paint_lesions(canvas: Canvas, patient: Patient, cavity: np.ndarray, scale: float, rng: np.random.Generator) -> None:
    """Solid tumors (almost always one or more) and cysts (in about half of the patients) on the kidneys.

    Args:
        canvas: where to paint; kidneys are there already.
        patient: whose kidneys.
        cavity: [Z,Y,X] signed distance of the body cavity: no lesion grows through the body wall.
        scale: mm of this patient per mm of the standard patient: lesion sizes are true mm.
        rng: the source of all draws.
    """
    tumors = int(rng.choice(3, p=(0.04, 0.80, 0.16)))
    cysts = int(rng.choice(4, p=(0.5, 0.3, 0.15, 0.05)))
    placed: list[tuple[np.ndarray, float]] = []
    sides = [side for side in ("right", "left") if f"{side} kidney" not in patient.absent]
    for name in ["tumor"] * tumors + ["cyst"] * cysts:
        low, high = (16.0, 60.0) if name == "tumor" else (15.0, 50.0)
        # More small ones than large ones.
        radius = 0.5 * low * (high / low) ** rng.beta(1.2, 1.6) / scale
        for _ in range(20):
            side = rng.choice(sides)
            centre = _seat(patient.kidneys[side], -1 if side == "right" else 1, radius, rng)
            if all(np.linalg.norm(centre - other) > radius + reach + 4 for other, reach in placed):
                placed.append((centre, radius))
                (_paint_tumor if name == "tumor" else _paint_cyst)(canvas, patient, cavity, centre, radius, rng)
                break


def _seat(kidney: tuple[float, float, float], sign: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Centre of a lesion: on the kidney's lateral, front or back surface or at a pole, more or less deep."""
    direction = rng.normal(0, 1, 3) * (1, 1, 0.9)
    # Not towards the hilum and the spine.
    direction[0] = sign * abs(direction[0])
    direction /= np.linalg.norm(direction)
    seat = np.asarray(kidney) + direction * _SEAT * rng.uniform(0.75, 1.0)
    # The kidney's long axis leans: its upper pole lies nearer to the spine.
    seat[:2] += (seat[2] - kidney[2]) * np.array((-sign * 0.22, -0.12))
    return seat + direction * radius * rng.uniform(0.0, 0.55)


def _paint_tumor(
    canvas: Canvas, patient: Patient, cavity: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    radii = radius * rng.uniform(0.88, 1.08, 3)
    bumps, turn = draw_bumps(rng, 0.10), rng.uniform(0, np.pi)
    waves = rng.normal(0, 1, (4, 4)) * (2.2 / radius, 2.2 / radius, 2.2 / radius, 3.0)
    necrosis, core = rng.uniform(0.3, 0.62), radius * rng.uniform(-0.2, 0.2, 3)
    region = canvas.region(tuple(centre), tuple(radii * 1.3))
    shape = ellipsoid(region, tuple(centre), tuple(radii), turn, bumps=bumps)
    shape = np.minimum(shape, cavity[region.where] - 3)
    texture = np.full(shape.shape, patient.hu["tumor"], np.float32)
    x, y, z = (axis - np.float32(middle) for axis, middle in zip(region[1:], centre, strict=True))
    for wave in waves.astype(np.float32):
        texture += 7 * np.sin(wave[0] * x + wave[1] * y + wave[2] * z + wave[3])
    if radius > 15:
        inner = ellipsoid(region, tuple(centre + core), tuple(radii * necrosis), turn, bumps=2 * bumps)
        texture += np.clip(inner * np.float32(0.3) + 0.5, 0, 1) * (np.float32(26) - texture)
    canvas.paint(region, shape, texture.astype(np.float32), IDS["tumor"])


def _paint_cyst(
    canvas: Canvas, patient: Patient, cavity: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    region = canvas.region(tuple(centre), (radius * 1.1,) * 3)
    shape = ellipsoid(region, tuple(centre), tuple(radius * rng.uniform(0.94, 1.06, 3)))
    canvas.paint(region, np.minimum(shape, cavity[region.where] - 3), rng.uniform(2, 18), IDS["cyst"])

"""The abdominal organs of a phantom that have labels. Units and frame as in `anatomy`."""

import numpy as np

from .anatomy import IDS, Patient, diaphragm
from .canvas import Canvas, Region, ball, carve, draw_bumps, ellipsoid, join


def paint_spleen(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """A crescent under the left dome, hollowed by the stomach."""
    shift, grow = rng.normal(0, 4, 3), rng.uniform(0.85, 1.25)
    bumps = draw_bumps(rng, 0.09)
    if "spleen" in patient.absent:
        return
    centre = (94 + shift[0], 30 + shift[1], 68 + shift[2])
    region = canvas.region(centre, (48, 62, 66))
    shape = ellipsoid(region, centre, (30 * grow, 47 * grow, 50 * grow), turn_rad=0.35, lean=(0, 0.25), bumps=bumps)
    hollow = ellipsoid(region, (centre[0] - 37, centre[1] - 22, centre[2] - 2), (34, 40, 58), turn_rad=0.35)
    shape = np.minimum(carve(shape, hollow, 5), cavity[region.where] - 5)
    shape = np.minimum(shape, 0.7 * (diaphragm(region.x, region.y, patient, 1) - region.z - 4))
    canvas.paint(region, shape + patient.visceral_mm, -95.0)
    canvas.paint(region, shape, patient.hu["spleen"], IDS["spleen"])


def paint_liver(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Right lobe, left lobe that tapers across the midline, fissure, vessels; gallbladder below."""
    tip, left_reach, grow = rng.uniform(-70, -15), rng.uniform(35, 78), rng.uniform(0.9, 1.08)
    bumps = draw_bumps(rng, 0.08)
    branches = rng.normal(0, 1, (5, 3))
    gall = rng.normal(0, 4, 3)
    bottom, top = tip, patient.dome_z
    centre = (-64, 0, (bottom + top) / 2 + 4)
    region = canvas.region(
        ((left_reach - 122) / 2, -6, (bottom + top) / 2), ((left_reach + 134) / 2, 88, (top - bottom) / 2 + 4)
    )
    right = ellipsoid(region, centre, (66 * grow, 84 * grow, (top - bottom) / 2 + 8), lean=(0.12, -0.05), bumps=bumps)
    left_x = (left_reach - 60) / 2
    left = ellipsoid(region, (left_x, -42, 92), (left_reach - left_x + 8, 34, 34), turn_rad=-0.18, lean=(-0.1, 0.1))
    shape = join(right, left, 22)
    # Room for spine, aorta and the viscera of the midline; a fissure between the lobes.
    column = 47 - np.sqrt((region.x - 11) ** 2 + (region.y - 55) ** 2)
    shape = carve(shape, column, 12)
    shape = carve(shape, _fissure(region), 4)
    shape = carve(shape, ball(region, (-28, -14, 6), 35), 16)
    shape = np.minimum(shape, cavity[region.where] - 5)
    shape = np.minimum(shape, 0.7 * (diaphragm(region.x, region.y, patient, -1) - region.z - 4))
    canvas.paint(region, shape, patient.hu["liver"], IDS["liver"])
    porta = np.array((-28, 6, 62))
    for branch in branches:
        end = porta + np.array((-45, -8, 22)) + branch * (26, 26, 24)
        spot, inside = canvas.tube((porta, (porta + end) / 2 + 4 * branch[::-1], end), (5.5, 4.0, 2.0))
        canvas.paint_within(spot, inside, 0.75 * patient.hu["vein"] + 0.25 * patient.hu["liver"], IDS["liver"])
    if "gallbladder" not in patient.absent:
        canvas.paint(*canvas.tube(np.array(((-40, -20, 42), (-48, -42, 22))) + gall, (8.0, 14.0)), 12.0)


def _fissure(region: Region) -> np.ndarray:
    """The cleft between the lobes of the liver, at its lower front edge."""
    front = -28 - region.y
    wedge = 1.5 + front * np.float32(0.06) - np.abs(region.x + 16)
    return np.minimum(np.minimum(wedge, front), 62 + front * np.float32(0.7) - region.z)


def paint_pancreas(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """A lobulated tube that curves from the duodenum over the vessels to the splenic hilum."""
    knots = np.array(((-30, 0, -18), (-30, -6, 4), (-10, -20, 14), (18, -16, 22), (48, 6, 32), (76, 22, 44)), float)
    knots += rng.normal(0, 3.5, knots.shape)
    t = np.linspace(0, len(knots) - 1, 16)
    points = np.stack([np.interp(t, np.arange(len(knots)), knots[:, axis]) for axis in range(3)], 1)
    points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    radii = (
        np.interp(t, np.arange(len(knots)), (11, 15, 9, 10.5, 10, 8))
        * rng.uniform(0.95, 1.2)
        * rng.uniform(0.88, 1.12, 16)
    )
    region, shape = canvas.tube(points, radii, halo=patient.visceral_mm + 3)
    canvas.paint(region, shape + patient.visceral_mm, -95.0)
    canvas.paint(region, shape, patient.hu["pancreas"], IDS["pancreas"])


def paint_kidney(canvas: Canvas, patient: Patient, side: str, rng: np.random.Generator) -> None:
    """A bean with its hilum to the front and the midline; cortex, medulla and the fat of the sinus."""
    grow, turn, bumps = rng.uniform(0.88, 1.14), rng.uniform(0.35, 0.75), draw_bumps(rng, 0.05)
    if f"{side} kidney" in patient.absent:
        return
    sign = -1 if side == "right" else 1
    centre, radii = patient.kidneys[side], np.array((24, 29, 55)) * grow
    turn = -sign * turn
    lean = (-sign * 0.22, -0.12)
    region = canvas.region(centre, tuple(radii * (1.25, 1.15, 1.12) + 8))
    shape = ellipsoid(region, centre, tuple(radii), turn, lean, bumps)
    # The axis from the kidney's centre to its hilum: medial, turned to the front.
    inward = np.array((-sign * np.cos(turn), -sign * np.sin(turn)))
    hilum = (centre[0] + inward[0] * radii[0] * 1.02, centre[1] + inward[1] * radii[0] * 1.02, centre[2])
    sinus = (centre[0] + inward[0] * radii[0] * 0.42, centre[1] + inward[1] * radii[0] * 0.42, centre[2])
    notch = ellipsoid(region, hilum, (radii[0] * 0.75, radii[1] * 0.36, radii[2] * 0.42), turn, lean)
    notch = join(notch, ellipsoid(region, sinus, (radii[0] * 0.42, radii[1] * 0.42, radii[2] * 0.55), turn, lean), 5)
    canvas.paint(region, shape + patient.visceral_mm + 2, -98.0)
    bean = carve(shape, notch, 4)
    depth = np.clip((bean - 5) * np.float32(0.4), 0, 1)
    texture = patient.hu["cortex"] + depth * (patient.hu["medulla"] - patient.hu["cortex"])
    canvas.paint(region, bean, texture, IDS[f"{side} kidney"])
    vessel, inside = canvas.tube(((sign * 14, 30, centre[2] - 2), (hilum[0], hilum[1], centre[2])), (4.5, 4.0))
    canvas.paint_within(vessel, inside, patient.hu["vein"], 0)


def paint_bladder(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Urine in a thin wall, flattened above."""
    fill, shift, bumps = rng.uniform(0.75, 1.3), rng.normal(0, 4, 3), draw_bumps(rng, 0.06)
    urine = rng.uniform(0, 14)
    centre = (shift[0], -26 + shift[1], -212 + shift[2])
    region = canvas.region(centre, (60, 46, 48))
    shape = ellipsoid(region, centre, (42 * fill, 31 * fill, 32 * fill), bumps=bumps)
    shape = np.minimum(shape, 24 * fill - (region.z - np.float32(centre[2])) * np.float32(0.9))
    canvas.paint(region, np.minimum(shape, cavity[region.where] - 3), 40.0, IDS["bladder"])
    canvas.paint(region, np.minimum(shape - 3, cavity[region.where] - 6), urine, IDS["bladder"])

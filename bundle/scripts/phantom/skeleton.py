"""The bones of a phantom, with the muscles beside the spine, and the head. Units and frame as in `anatomy`."""

import numpy as np

from .anatomy import IDS, Patient
from .canvas import Canvas, draw_bumps, ellipsoid, join

_BONE = IDS["bone"]


def paint_spine(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Muscles along the spine, vertebral bodies with discs, canal, arches, spinous processes."""
    offset, dense = rng.uniform(0, 32), rng.uniform(140, 230)
    muscle = patient.hu["muscle"]
    for sign in (-1, 1):
        back = canvas.region((sign * 30, 90, -15), (26, 24, 315))
        column = 19 * (1 - np.sqrt(((back.x - sign * 29) / 25) ** 2 + ((back.y - 88) / 19) ** 2))
        canvas.paint(back, np.minimum(column, 300 - back.z), muscle)
        points = np.array(
            (
                (sign * 26, 52, 30),
                (sign * 36, 48, -40),
                (sign * 46, 38, -120),
                (sign * 58, 0, -200),
                (sign * 70, -20, -260),
            )
        )
        canvas.paint(*canvas.tube(points, (6, 15, 20, 18, 14)), muscle)
    region = canvas.region((0, 78, 110), (46, 52, 235))
    # Height inside one segment of 32 mm: the disc lies at its ends.
    phase = np.abs(np.mod(region.z + np.float32(offset), 32) - 16)
    size = np.float32(1.0) - np.maximum(region.z, 0) * np.float32(0.0009)
    body = 17 * (size - np.sqrt((region.x / 23) ** 2 + ((region.y - 55) / 17.5) ** 2))
    ends = np.minimum(330 - region.z, region.z + 130)
    body = np.minimum(body, ends)
    canvas.paint(region, body, 85.0)
    vertebra = np.minimum(body + 1, 13.5 - phase)
    canvas.paint(region, vertebra, 420.0, _BONE)
    canvas.paint(region, vertebra - 3.5, dense, _BONE)
    # Arch: ring around the canal; laminae only in the middle of a segment, the spinous process behind it.
    ring = np.sqrt((region.x / 17) ** 2 + ((region.y - 80) / 14) ** 2)
    arch = np.minimum(4.0 - np.abs(14 * (ring - 1)), 12 - phase)
    spinous = np.minimum(np.minimum(3.5 - np.abs(region.x), 20 - np.abs(region.y - 106 + 4 * size)), 10 - phase)
    wings = np.minimum(
        np.minimum(36 - np.abs(region.x), 5 - np.abs(region.y - 79)), np.minimum(5 - phase, np.abs(region.x) - 14)
    )
    canvas.paint(region, np.minimum(np.maximum(np.maximum(arch, spinous), wings), ends), 380.0, _BONE)
    canvas.paint(region, np.minimum(9 * (1 - np.sqrt((region.x / 10) ** 2 + ((region.y - 79) / 8.5) ** 2)), ends), 28.0)


def paint_ribs(canvas: Canvas, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Ribs run in the body wall, falling from the spine to the front; sternum."""
    pitch, slope, start = 25.0, rng.uniform(0.5, 0.75), rng.uniform(28, 44)
    region = canvas.slab(10, 300)
    # Height along a rib: zero at the rib's middle; ribs are counted from the lowest.
    rise = region.z - np.float32(slope) * (region.y - 70) - np.float32(start)
    index = np.round(rise / pitch)
    axial = rise - index * pitch
    depth = cavity[region.where] + 4
    rib = 4.2 * (np.float32(1.15) - np.sqrt((axial / 7.5) ** 2 + (depth / 4.2) ** 2))
    # The lowest ribs float; above them the front is cartilage.
    front = np.maximum(30 - 41 * index, -52)
    np.minimum(rib, region.y - front, out=rib)
    np.minimum(rib, 8 * index + 4, out=rib)  # none below the lowest,
    np.minimum(rib, 84 - 8 * index, out=rib)  # none above the eleventh
    canvas.paint(region, rib, 430.0, _BONE)
    canvas.paint(region, rib - 2.6, 220.0, _BONE)
    sternum = canvas.region((0, -98, 200), (26, 30, 75))
    plate = np.minimum(
        np.minimum(5.0 - np.abs(cavity[sternum.where] + 5), 17 - np.abs(sternum.x)), 62 - np.abs(sternum.z - 200)
    )
    canvas.paint(sternum, np.where(sternum.y < 0, plate, -50), 250.0, _BONE)


def paint_pelvis(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Sacrum, iliac wings, hip joints, pubis."""
    flare = rng.uniform(0.92, 1.05)
    region = canvas.region((0, 72, -165), (62, 48, 75))
    tilt = (region.z + 120) * np.float32(0.35)
    sacrum = ellipsoid(region, (0, 62, -150), (50, 24, 58), lean=(0.0, -0.35), bumps=draw_bumps(rng, 0.05))
    sacrum = np.minimum(sacrum, 52 + tilt - np.abs(region.x))
    canvas.paint(region, sacrum, 350.0, _BONE)
    canvas.paint(region, sacrum - 3.5, 160.0, _BONE)
    for sign in (-1, 1):
        wing = canvas.region((sign * 85, 10, -130), (60, 85, 75))
        # A curved sheet that narrows downwards to the hip joint.
        down = np.clip((-62 - wing.z) * np.float32(1 / 140), 0, 1)
        half_x, half_y = (122 - 34 * down) * np.float32(flare), 92 - 34 * down
        x, y = wing.x, wing.y - 8
        r = np.sqrt((x / half_x) ** 2 + (y / half_y) ** 2) + np.float32(1e-3)
        sheet = 4.5 + 5 * down - np.abs(np.sqrt(x * x + y * y) * (1 - 1 / r))
        top = -62 - np.abs(wing.y + 5) * np.float32(0.35) - wing.z
        sheet = np.minimum(np.minimum(sheet, sign * x - 34), np.minimum(top, wing.z + 215))
        sheet = np.minimum(sheet, wing.y + 62 - 30 * down)
        canvas.paint(wing, sheet, 400.0, _BONE)
        canvas.paint(wing, sheet - 3, 190.0, _BONE)
        hip = canvas.region((sign * 92, 8, -235), (48, 48, 75))
        socket = ellipsoid(hip, (sign * 86, 8, -224), (32, 32, 30))
        canvas.paint(hip, socket, 380.0, _BONE)
        canvas.paint(hip, socket - 3, 230.0, _BONE)
        head = ellipsoid(hip, (sign * 98, 8, -228), (24, 24, 24))
        canvas.paint(hip, head + 2.5, 60.0)
        canvas.paint(hip, head, 420.0, _BONE)
        canvas.paint(hip, head - 3, 280.0, _BONE)
        spot, bone = canvas.tube(((sign * 98, 8, -228), (sign * 132, 14, -258), (sign * 134, 14, -330)), (15, 17, 15))
        canvas.paint(spot, bone, 450.0, _BONE)
        canvas.paint(spot, bone - 5, 120.0, _BONE)
        arcs = (
            ((sign * 80, -4, -238), (sign * 40, -52, -240), (sign * 6, -62, -246)),
            ((sign * 70, 18, -248), (sign * 58, 34, -285), (sign * 40, -10, -292)),
        )
        for arc in arcs:
            spot, bone = canvas.tube(arc, (11.0, 8.0, 9.0))
            canvas.paint(spot, bone, 380.0, _BONE)
            canvas.paint(spot, bone - 3.5, 180.0, _BONE)


def paint_head(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Face, jaw, neck vertebrae, skull, brain with ventricles and grey matter."""
    size, bumps = rng.uniform(0.94, 1.06), draw_bumps(rng, 0.02)
    fold = draw_bumps(rng, 0.05, count=8)
    centre, skull_radii = (0.0, -4.0, 425.0), np.array((73, 92, 74)) * size
    region = canvas.region((0, -10, 425), (90, 115, 125))
    skull = ellipsoid(region, centre, tuple(skull_radii), bumps=bumps)
    face = ellipsoid(region, (0, -50, 372), (56, 52, 62))
    canvas.paint(region, join(skull + 6, face + 3, 16), 35.0)
    canvas.paint(region, join(skull, face - 4, 14) + 3, -60.0)
    canvas.paint(region, join(skull, face - 6, 12), 48.0)
    jaw = 8.0 - np.abs(face - 13)
    jaw = np.minimum(jaw, np.minimum(14 - np.abs(region.z - 345), -30 - region.y))
    canvas.paint(region, jaw, 600.0, _BONE)
    cheek = np.minimum(6 - np.abs(face - 9), np.minimum(22 - np.abs(region.z - 385), -48 - region.y))
    canvas.paint(region, cheek, 500.0, _BONE)
    canvas.paint(region, ellipsoid(region, (0, -62, 380), (24, 22, 18)), -930.0)
    for sign in (-1, 1):
        eye = ellipsoid(region, (sign * 32, -82, 402), (13, 13, 13))
        canvas.paint(region, eye, 18.0)
    neck = canvas.region((0, 40, 350), (30, 30, 45))
    phase = np.abs(np.mod(neck.z, 18) - 9)
    stem = np.minimum(12 * (1 - np.sqrt((neck.x / 14) ** 2 + ((neck.y - 30) / 12) ** 2)), 32 - np.abs(neck.z - 348))
    canvas.paint(neck, np.minimum(stem, 7.5 - phase), 420.0, _BONE)
    canvas.paint(region, skull, 1050.0, _BONE)
    canvas.paint(region, skull - 2.4, 700.0, _BONE)
    canvas.paint(region, skull - 4.0, 1000.0, _BONE)
    canvas.paint(region, skull - 6.2, 12.0)
    brain = ellipsoid(region, centre, tuple(skull_radii - 7.5), bumps=bumps)
    folds = ellipsoid(region, centre, tuple(skull_radii - 11), bumps=fold)
    brain = np.minimum(brain, np.maximum(folds + 4, np.abs(region.x) - 1.2 - np.maximum(430 - region.z, 0)))
    canvas.paint(region, brain, 39.0, IDS["brain"])
    canvas.paint(region, folds - 4, 29.0, IDS["brain"])
    for sign in (-1, 1):
        ventricle = ellipsoid(region, (sign * 11, -8, 438), (7, 28, 12), turn_rad=-sign * 0.3)
        canvas.paint(region, ventricle, 8.0, IDS["brain"])

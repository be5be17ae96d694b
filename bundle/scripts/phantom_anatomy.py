"""The patient of a phantom: trunk, chest and abdominal organs painted on a canvas.

Standard patient: mm, x to the patient's left, y to posterior, z to superior, origin between the kidneys. Painter's order:
what comes later covers what came before.
"""

from dataclasses import dataclass

import numpy as np

from .phantom_canvas import Canvas, box_of, carve, draw_bumps, ellipsoid, join, tube

LABELS = {
    1: "liver",
    2: "right kidney",
    3: "left kidney",
    4: "spleen",
    5: "pancreas",
    6: "bladder",
    7: "right lung",
    8: "left lung",
    9: "bone",
    10: "brain",
    11: "tumor",
    12: "cyst",
}
IDS = {name: value for value, name in LABELS.items()}

# HU by contrast phase: none, arterial, portal venous, nephrographic.
_PHASES = {
    "liver": (56, 72, 112, 98),
    "spleen": (48, 125, 122, 104),
    "pancreas": (40, 104, 96, 80),
    "cortex": (34, 185, 190, 176),
    "medulla": (32, 88, 158, 174),
    "aorta": (42, 310, 165, 128),
    "vein": (40, 95, 158, 126),
    "muscle": (52, 56, 62, 60),
    "bowel": (28, 42, 52, 46),
    "tumor": (34, 88, 82, 72),
}

# Half-widths of the body cavity and thickness of the body wall over z (mm).
_BODY_Z = (-320, -270, -220, -130, -60, 0, 80, 150, 210, 260, 290, 315, 335, 350, 365)
_CAVITY_X = (112, 118, 124, 126, 120, 120, 127, 124, 114, 92, 62, 38, 36, 36, 20)
_CAVITY_Y = (78, 82, 86, 86, 83, 84, 92, 94, 86, 70, 54, 44, 42, 42, 24)
_WALL = (48, 46, 38, 22, 17, 16, 17, 20, 28, 42, 40, 24, 18, 16, 12)


@dataclass(frozen=True)
class Patient:
    """What the structures of one patient share.

    Attributes:
        phase: 0 none, 1 arterial, 2 portal venous, 3 nephrographic.
        hu: HU by tissue.
        fat_mm: subcutaneous fat. visceral_mm: fat between organs.
        dome_z: height of the right diaphragm dome.
        absent: names of absent organs.
        kidneys: by side ("right", "left"): centre (x, y, z), mm.
    """

    phase: int
    hu: dict[str, float]
    fat_mm: float
    visceral_mm: float
    dome_z: float
    absent: frozenset[str]
    kidneys: dict[str, tuple[float, float, float]]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw what the structures of a patient share."""
    phase = int(rng.choice(4, p=(0.2, 0.2, 0.4, 0.2)))
    hu = {name: values[phase] * rng.normal(1, 0.05) + rng.normal(0, 3) for name, values in _PHASES.items()}
    fat_mm, visceral_mm = rng.uniform(7, 30), rng.uniform(1.0, 7.0)
    fate = rng.random(3)
    absent = {name for name, share, limit in zip(("spleen", "kidney", "gallbladder"), fate, (0.04, 0.04, 0.2), strict=True) if share < limit}
    side = rng.choice(("right", "left"))
    if "kidney" in absent:
        absent = absent - {"kidney"} | {f"{side} kidney"}
    jitter = rng.normal(0, 1, (2, 3)) * (4, 4, 9)
    kidneys = {
        "right": (-60 + jitter[0, 0], 42 + jitter[0, 1], -8 + jitter[0, 2]),
        "left": (62 + jitter[1, 0], 42 + jitter[1, 1], 8 + jitter[1, 2]),
    }
    return Patient(phase, hu, fat_mm, visceral_mm, 132 + rng.normal(0, 9), frozenset(absent), kidneys)


def paint_trunk(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Skin, fat, muscle and the cavity; returns the cavity's signed distance [Z,Y,X], mm."""
    whole = canvas.slab(-1e4, 1e4)
    table_y = rng.uniform(6, 14)
    z = whole.z.mean(axis=(1, 2)) if whole.z.size else whole.z
    half_x, half_y, wall = (np.interp(z, _BODY_Z, knots).astype(np.float32)[:, None, None] for knots in (_CAVITY_X, _CAVITY_Y, _WALL))
    xx, yy = whole.x * whole.x, whole.y * whole.y
    uu, vv = xx / (half_x * half_x), yy / (half_y * half_y)
    radial = np.sqrt((xx + yy) / (uu + vv - np.float32(0.12) * np.minimum(uu * vv, 4) + np.float32(1e-6)))
    cavity = radial - np.sqrt(xx + yy)
    # The neck ends in the head; the shoulders are wide, not deep.
    cavity -= np.maximum(z - 352, 0)[:, None, None]
    wall = wall * (np.float32(0.65) + np.float32(0.35) * np.minimum(np.abs(whole.x) / 90, 1.2))
    neck = np.interp(z, (280, 340), (1.0, 0.25)).astype(np.float32)[:, None, None]
    fat = np.float32(patient.fat_mm) * neck * (1 + np.float32(0.004) * whole.y)
    muscle = cavity + wall
    canvas.paint(whole, muscle + fat + 2, 30.0)
    canvas.paint(whole, muscle + fat, -105.0)
    canvas.paint(whole, muscle, patient.hu["muscle"])
    canvas.paint(whole, cavity, -98.0)
    _paint_table(canvas, patient, table_y)
    return cavity


def _paint_table(canvas: Canvas, patient: Patient, gap: float) -> None:
    """The scanner's table: a thin curved sheet under the back."""
    region = canvas.region((0, 175, 0), (230, 45, 1e4))
    sheet = 2.0 - np.abs(region.y - (132 + patient.fat_mm + gap) + region.x * region.x * np.float32(1 / 1500))
    outside = canvas.image[region.where] < -900
    canvas.paint(region, np.where(outside, sheet, -100), -350.0)


def paint_chest(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Lungs with dome-shaped bases, heart, mediastinum, trachea."""
    heart_turn, heart_hu = rng.uniform(0.5, 0.9), 0.5 * (patient.hu["aorta"] + patient.hu["vein"]) * rng.uniform(0.8, 1.0)
    lung_hu, vessels = rng.uniform(-880, -800), rng.uniform(-1, 1, (2, 5, 3))
    heart_bumps = draw_bumps(rng, 0.06)
    middle = canvas.region((0, 20, 200), (45, 75, 150))
    for side, sign in (("right", -1), ("left", 1)):
        centre = (sign * 66, 4, 100)
        region = canvas.region((sign * 72, 0, 185), (72, 100, 140))
        lung = ellipsoid(region, centre, (62, 92, 198 if sign < 0 else 194), lean=(-sign * 0.06, 0.05))
        lung = np.minimum(lung, cavity[region.where] - 5)
        lung = np.minimum(lung, 0.7 * (region.z - diaphragm(region.x, region.y, patient, sign)))
        # Mediastinum: a column around spine, great vessels and heart.
        lung = np.minimum(lung, sign * region.x - (9 + np.maximum(region.y - 30, 0) * np.float32(0.35)))
        canvas.paint(region, lung, lung_hu, IDS[f"{side} lung"])
        for k in range(5):
            start = np.array((sign * 22, 18, 190)) + 4 * vessels[0, k]
            end = np.array((sign * (60 + 25 * vessels[0, k, 0]), 10 + 50 * vessels[0, k, 1], 195 + 75 * vessels[0, k, 2]))
            points = np.stack([start, (start + end) / 2 + 8 * vessels[1, k], end])
            branch = canvas.region(*box_of(points, 8))
            inside = np.minimum(tube(branch, points, np.array((5.5, 3.2, 1.5))), lung_like(branch, sign))
            canvas.paint(branch, inside, patient.hu["vein"], IDS[f"{side} lung"])
    region = canvas.region((18, -28, 182), (75, 65, 62))
    heart = ellipsoid(region, (18, -26, 178), (60, 42, 50), turn_rad=heart_turn, bumps=heart_bumps)
    heart = np.minimum(heart, cavity[region.where] - 6)
    heart = np.minimum(heart, 0.8 * (region.z - diaphragm(region.x, region.y, patient, 1) + 4))
    canvas.paint(region, heart, -70.0)
    canvas.paint(region, heart - 4, patient.hu["muscle"] + 25)
    chamber = ellipsoid(region, (24, -28, 176), (30, 20, 34), turn_rad=heart_turn)
    canvas.paint(region, np.minimum(chamber, heart - 9), heart_hu)
    windpipe = tube(middle, np.array(((0, 24, 216), (0, 14, 262), (0, 2, 360))), np.array((8.5, 8.0, 8.0)))
    canvas.paint(middle, windpipe, -990.0)
    for sign in (-1, 1):
        bronchus = canvas.region(*box_of(np.array(((0, 24, 216), (sign * 30, 26, 192))), 7))
        canvas.paint(bronchus, tube(bronchus, np.array(((0, 24, 216), (sign * 30, 26, 192))), np.array((6.5, 5.0))), -985.0)


def lung_like(region, sign: int) -> np.ndarray:
    """Keeps the branches of the lung's vessels lateral to the mediastinum (mm)."""
    return sign * region.x - 10


def diaphragm(x: np.ndarray, y: np.ndarray, patient: Patient, sign: int) -> np.ndarray:
    """Height of the diaphragm (mm): a dome per side that falls to the recess behind and beside it."""
    dx, dy = (x - np.float32(sign * 58)) * np.float32(1 / 74), (y + 12) * np.float32(1 / 92)
    top = patient.dome_z - (9 if sign > 0 else 0)
    return np.float32(top) - 66 * (dx * dx + dy * dy)


def paint_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Aorta and inferior vena cava."""
    wobble = rng.normal(0, 3, 4)
    aorta = np.array(((12, 34, 205), (12, 36, 130), (10 + wobble[0], 30, 40), (7 + wobble[1], 28, -85), (34, 14, -160), (58, -12, -235)))
    cava = np.array(((-16, 16, 150), (-19, 24, 100), (-20 + wobble[2], 27, 20), (-18 + wobble[3], 31, -85), (-38, 18, -160), (-60, -8, -235)))
    arch = np.array(((12, 34, 205), (8, 12, 238), (-10, -10, 200)))
    right_iliac, left_iliac = np.array(((7, 28, -85), (-30, 14, -160), (-56, -14, -235))), np.array(((-18, 31, -85), (40, 20, -160), (62, -6, -235)))
    for points, radii, name in (
        (aorta, (12, 11, 10, 8.5, 6, 5), "aorta"),
        (arch, (12, 13, 14), "aorta"),
        (right_iliac, (8, 6, 5), "aorta"),
        (cava, (11, 12, 11, 10, 7, 6), "vein"),
        (left_iliac, (9, 7, 6), "vein"),
    ):
        region = canvas.region(*box_of(points, 15))
        canvas.paint(region, tube(region, points, np.array(radii)), patient.hu[name])


def paint_bowel(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Stomach, colon and loops of small bowel: neighbours that no label names."""
    wall, stomach_fill = patient.hu["bowel"], rng.choice((12.0, 35.0, 160.0), p=(0.5, 0.4, 0.1))
    gas_y, stomach_bumps = rng.uniform(-55, -25), draw_bumps(rng, 0.10)
    loops = rng.uniform(-1, 1, (16, 7))
    wobble = rng.normal(0, 6, (3, 5, 3))
    for loop in loops:
        centre = np.array((62 * loop[0], -22 + 30 * loop[1], -115 + 75 * loop[2]))
        axis = 26 * loop[3:6] * (1, 1, 0.6)
        points = np.stack([centre - axis, centre + 6 * loop[[4, 5, 3]], centre + axis])
        region = canvas.region(*box_of(points, 13))
        shape = np.minimum(tube(region, points, np.full(3, 11 + loop[6])), cavity[region.where] - 5)
        canvas.paint(region, shape, wall)
        canvas.paint(region, shape - 3.5, (10.0, 25.0, -60.0, 30.0)[int((loop[6] + 1) * 2) % 4])
        if loop[6] > 0.35:
            canvas.paint(region, np.minimum(shape - 3, np.float32(centre[1] - 1) - region.y), -850.0)
    colons = (
        ((-98, 18, -125), (-100, 20, -95), (-98, 14, -60), (-92, -2, -38), (-84, -24, -30)),
        ((-84, -48, -32), (-45, -62, -48), (0, -64, -55), (45, -60, -42), (84, -42, -10)),
        ((94, 20, 20), (100, 26, -30), (100, 24, -80), (92, 10, -125), (58, 4, -160)),
    )
    for points, shift in zip(colons, wobble, strict=True):
        points = np.array(points) + shift * 0.6
        region = canvas.region(*box_of(points, 22))
        # Haustra: the radius swells and shrinks along the colon.
        swell = 2.2 * np.sin((region.x + region.z) * np.float32(0.22))
        shape = np.minimum(tube(region, points, np.full(5, 17.0)) + swell, cavity[region.where] - 5)
        canvas.paint(region, shape, wall)
        middle = np.float32(points[:, 1].mean())
        canvas.paint(region, shape - 3, 25.0)
        canvas.paint(region, np.minimum(shape - 3, middle + 3 - region.y), -880.0)
    region = canvas.region((45, -25, 70), (62, 55, 75))
    shape = ellipsoid(region, (62, -10, 88), (34, 38, 50), lean=(0.25, 0.15), bumps=stomach_bumps)
    shape = join(shape, ellipsoid(region, (22, -44, 38), (42, 21, 20), turn_rad=0.3), 14)
    shape = np.minimum(shape, cavity[region.where] - 6)
    shape = np.minimum(shape, 0.7 * (diaphragm(region.x, region.y, patient, 1) - region.z - 4))
    canvas.paint(region, shape, wall + 15)
    canvas.paint(region, shape - 4, stomach_fill)
    canvas.paint(region, np.minimum(shape - 4, np.float32(gas_y) - region.y), -900.0)


def paint_spleen(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """A crescent under the left dome, hollowed by the stomach."""
    shift, grow = rng.normal(0, 4, 3), rng.uniform(0.85, 1.25)
    bumps = draw_bumps(rng, 0.09)
    if "spleen" in patient.absent:
        return
    centre = (94 + shift[0], 30 + shift[1], 68 + shift[2])
    region = canvas.region(centre, (48, 62, 66))
    shape = ellipsoid(region, centre, (30 * grow, 47 * grow, 50 * grow), turn_rad=0.35, lean=(0, 0.25), bumps=bumps)
    hollow = ellipsoid(region, (centre[0] - 32, centre[1] - 20, centre[2] - 2), (34, 42, 60), turn_rad=0.35)
    shape = np.minimum(carve(shape, hollow, 5), cavity[region.where] - 5)
    shape = np.minimum(shape, 0.7 * (diaphragm(region.x, region.y, patient, 1) - region.z - 4))
    canvas.paint(region, shape + patient.visceral_mm, -95.0)
    canvas.paint(region, shape, patient.hu["spleen"], IDS["spleen"])


def paint_liver(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Right lobe, left lobe that tapers across the midline, fissure, vessels; gallbladder below."""
    tip, left_reach, grow = rng.uniform(-70, -15), rng.uniform(35, 78), rng.uniform(0.9, 1.08)
    bumps, left_bumps = draw_bumps(rng, 0.07), draw_bumps(rng, 0.10)
    branches = rng.normal(0, 1, (5, 3))
    gall = rng.normal(0, 4, 3)
    bottom, top = tip, patient.dome_z
    centre = (-64, 0, (bottom + top) / 2 + 4)
    region = canvas.region((-30, -5, (bottom + top) / 2), (100, 95, (top - bottom) / 2 + 12))
    right = ellipsoid(region, centre, (66 * grow, 84 * grow, (top - bottom) / 2 + 8), lean=(0.12, -0.05), bumps=bumps)
    left_x = (left_reach - 60) / 2
    left = ellipsoid(region, (left_x, -42, 92), (left_reach - left_x + 8, 34, 34), turn_rad=-0.18, lean=(-0.1, 0.1), bumps=left_bumps)
    shape = join(right, left, 22)
    # Room for spine, aorta and the viscera of the midline; a fissure between the lobes.
    shape = carve(shape, ellipsoid(region, (14, 52, 60), (42, 46, 120)), 12)
    shape = carve(shape, tube(region, np.array(((-18, -92, 55), (-14, -30, 58))), np.array((5.0, 1.0))), 4)
    shape = carve(shape, ellipsoid(region, (-28, -14, 6), (34, 34, 38)), 16)
    shape = np.minimum(shape, cavity[region.where] - 5)
    shape = np.minimum(shape, 0.7 * (diaphragm(region.x, region.y, patient, -1) - region.z - 4))
    canvas.paint(region, shape, patient.hu["liver"], IDS["liver"])
    porta = np.array((-28, 6, 62))
    for branch in branches:
        end = porta + np.array((-45, -8, 22)) + branch * (26, 26, 24)
        points = np.stack([porta, (porta + end) / 2 + 4 * branch[::-1], end])
        spot = canvas.region(*box_of(points, 6))
        inside = np.minimum(tube(spot, points, np.array((5.5, 4.0, 2.0))), _part(shape, region, spot) - 5)
        canvas.paint(spot, inside, 0.75 * patient.hu["vein"] + 0.25 * patient.hu["liver"], IDS["liver"])
    if "gallbladder" not in patient.absent:
        points = np.array(((-40, -20, 42), (-48, -42, 22))) + gall
        spot = canvas.region(*box_of(points, 16))
        canvas.paint(spot, tube(spot, points, np.array((8.0, 14.0))), 12.0)


def _part(values: np.ndarray, region, spot) -> np.ndarray:
    """Values of `region` [Z,Y,X] on the box `spot`; far outside where the box leaves the region."""
    out = np.full(spot.x.shape, -1e3, np.float32)
    source, target = [], []
    for big, small in zip(region.where, spot.where, strict=True):
        low, high = max(big.start, small.start), min(big.stop, small.stop)
        high = max(low, high)
        source.append(slice(low - big.start, high - big.start))
        target.append(slice(low - small.start, high - small.start))
    out[tuple(target)] = values[tuple(source)]
    return out


def paint_pancreas(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """A lobulated tube that curves from the duodenum over the vessels to the splenic hilum."""
    knots = np.array(((-30, 0, -18), (-30, -6, 4), (-10, -20, 14), (18, -16, 22), (48, 6, 32), (76, 22, 44)), float)
    knots += rng.normal(0, 3.5, knots.shape)
    t = np.linspace(0, len(knots) - 1, 16)
    points = np.stack([np.interp(t, np.arange(len(knots)), knots[:, axis]) for axis in range(3)], 1)
    points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    radii = np.interp(t, np.arange(len(knots)), (11, 15, 9, 10.5, 10, 8)) * rng.uniform(0.95, 1.2) * rng.uniform(0.88, 1.12, 16)
    region = canvas.region(*box_of(points, 22))
    shape = tube(region, points, radii)
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
    vessel = np.array(((sign * 14, 30, centre[2] - 2), (hilum[0], hilum[1], centre[2])))
    spot = canvas.region(*box_of(vessel, 6))
    canvas.paint(spot, np.minimum(tube(spot, vessel, np.array((4.5, 4.0))), -_part(bean, region, spot)), patient.hu["vein"])


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

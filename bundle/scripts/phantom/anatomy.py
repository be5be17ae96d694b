"""The patient of a phantom: what its structures share; trunk, chest, great vessels and bowel painted on a canvas.

Standard patient: mm, x to the patient's left, y to posterior, z to superior, origin between the kidneys. Painter's
order: what comes later covers what came before.
"""

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, draw_bumps, ellipsoid, join

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
PHASES = {
    "liver": (56, 72, 112, 98),
    "spleen": (48, 125, 122, 104),
    "pancreas": (40, 104, 96, 80),
    "cortex": (38, 185, 190, 176),
    "medulla": (35, 88, 158, 174),
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
    hu = {name: values[phase] * rng.normal(1, 0.05) + rng.normal(0, 2) for name, values in PHASES.items()}
    fat_mm, visceral_mm = rng.uniform(7, 30), rng.uniform(1.0, 7.0)
    fate = rng.random(3)
    absent = {
        name
        for name, share, limit in zip(("spleen", "kidney", "gallbladder"), fate, (0.04, 0.04, 0.2), strict=True)
        if share < limit
    }
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
    table_gap = rng.uniform(2, 8)
    z = whole.z.mean(axis=(1, 2), keepdims=True)
    half_x, half_y, wall = (np.interp(z, _BODY_Z, knots).astype(np.float32) for knots in (_CAVITY_X, _CAVITY_Y, _WALL))
    squared = whole.x * whole.x
    uu = squared * half_x**-2
    cavity = _cavity_distance(squared, whole.y * whole.y, uu, half_y)
    cavity -= np.maximum(z - 352, 0)  # the neck ends in the head
    # The wall is thicker at the sides, the fat at the back.
    np.minimum(uu, 1, out=uu)
    uu += 2
    uu *= wall * np.float32(0.35)
    fat = whole.y * np.float32(0.004)
    fat += 1
    fat *= np.interp(z, (280, 340), (patient.fat_mm, 0.25 * patient.fat_mm)).astype(np.float32)
    # Nested layers from outside in: each adds its step of HU where it covers a voxel.
    layer = uu
    layer += cavity
    canvas.add_layer(layer, patient.hu["muscle"] + 105)
    layer += fat
    canvas.add_layer(layer, -105.0 - 30)
    layer += 2
    canvas.add_layer(layer, 30.0 + 1000)
    # Fat fills the cavity; the neck above it is muscle.
    canvas.add_layer(np.minimum(cavity, 284 - z, out=fat), -98 - patient.hu["muscle"])
    _paint_table(canvas, patient, table_gap)
    return cavity


def _cavity_distance(xx: np.ndarray, yy: np.ndarray, uu: np.ndarray, half_y: np.ndarray) -> np.ndarray:
    """Radial distance to the border of the cavity, a rounded box between an ellipse and a rectangle.

    Args:
        xx, yy: [Z,Y,X] squared mm; both are used up.
        uu: [Z,Y,X] xx over the squared half-width in x.
        half_y: [Z,1,1] half-width in y.
    """
    vv = yy * half_y**-2
    yy += xx
    corner = np.minimum(np.multiply(uu, vv, out=xx), 4, out=xx)
    corner *= np.float32(-0.12)
    vv += uu
    vv += corner
    vv += np.float32(1e-6)
    border = np.divide(yy, vv, out=vv)
    np.sqrt(border, out=border)
    border -= np.sqrt(yy, out=yy)
    return border


def _paint_table(canvas: Canvas, patient: Patient, gap: float) -> None:
    """The scanner's table: a thin curved sheet under the back."""
    back = 108 + 1.45 * patient.fat_mm + gap
    region = canvas.region((0, back - 20, 0), (230, 24, 1e4))
    sheet = np.float32(2.5) - np.abs(region.y - back + region.x * region.x * np.float32(1 / 1200))
    outside = canvas.image[region.where] < -900
    canvas.paint(region, np.where(outside, sheet, np.float32(-100)), -60.0)


def paint_chest(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Lungs with dome-shaped bases, heart, mediastinum, trachea."""
    heart_turn, heart_hu = (
        rng.uniform(0.5, 0.9),
        0.5 * (patient.hu["aorta"] + patient.hu["vein"]) * rng.uniform(0.8, 1.0),
    )
    lung_hu, vessels = rng.uniform(-880, -800), rng.uniform(-1, 1, (2, 5, 3))
    heart_bumps = draw_bumps(rng, 0.06)
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
            end = np.array(
                (sign * (60 + 25 * vessels[0, k, 0]), 10 + 50 * vessels[0, k, 1], 195 + 75 * vessels[0, k, 2])
            )
            branch, inside = canvas.tube((start, (start + end) / 2 + 8 * vessels[1, k], end), (5.5, 3.2, 1.5))
            canvas.paint_within(branch, inside, patient.hu["vein"], IDS[f"{side} lung"])
    region = canvas.region((18, -28, 182), (75, 65, 62))
    heart = ellipsoid(region, (18, -26, 178), (60, 42, 50), turn_rad=heart_turn, bumps=heart_bumps)
    heart = np.minimum(heart, cavity[region.where] - 6)
    heart = np.minimum(heart, 0.8 * (region.z - diaphragm(region.x, region.y, patient, 1) + 4))
    canvas.paint(region, heart, -70.0)
    canvas.paint(region, heart - 4, patient.hu["muscle"] + 25)
    chamber = ellipsoid(region, (24, -28, 176), (30, 20, 34), turn_rad=heart_turn)
    canvas.paint(region, np.minimum(chamber, heart - 9), heart_hu)
    canvas.paint(*canvas.tube(((0, 24, 216), (0, 14, 262), (0, 2, 360)), (8.5, 8.0, 8.0)), -990.0)
    for sign in (-1, 1):
        canvas.paint(*canvas.tube(((0, 24, 216), (sign * 30, 26, 192)), (6.5, 5.0)), -985.0)


def diaphragm(x: np.ndarray, y: np.ndarray, patient: Patient, sign: int) -> np.ndarray:
    """Height of the diaphragm (mm): a dome per side that falls to the recess behind and beside it."""
    dx, dy = (x - np.float32(sign * 58)) * np.float32(1 / 74), (y + 12) * np.float32(1 / 92)
    top = patient.dome_z - (9 if sign > 0 else 0)
    return np.float32(top) - 66 * (dx * dx + dy * dy)


def paint_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Aorta and inferior vena cava."""
    wobble = rng.normal(0, 3, 4)
    aorta = np.array(
        (
            (12, 34, 205),
            (12, 36, 130),
            (10 + wobble[0], 30, 40),
            (7 + wobble[1], 28, -85),
            (34, 14, -160),
            (58, -12, -235),
        )
    )
    cava = np.array(
        (
            (-16, 16, 150),
            (-19, 24, 100),
            (-20 + wobble[2], 27, 20),
            (-18 + wobble[3], 31, -85),
            (-38, 18, -160),
            (-60, -8, -235),
        )
    )
    arch = np.array(((12, 34, 205), (8, 12, 238), (-10, -10, 200)))
    right_iliac, left_iliac = (
        np.array(((7, 28, -85), (-30, 14, -160), (-56, -14, -235))),
        np.array(((-18, 31, -85), (40, 20, -160), (62, -6, -235))),
    )
    for points, radii, name in (
        (aorta, (12, 11, 10, 8.5, 6, 5), "aorta"),
        (arch, (12, 13, 14), "aorta"),
        (right_iliac, (8, 6, 5), "aorta"),
        (cava, (11, 12, 11, 10, 7, 6), "vein"),
        (left_iliac, (9, 7, 6), "vein"),
    ):
        canvas.paint(*canvas.tube(points, radii), patient.hu[name])


def paint_bowel(canvas: Canvas, patient: Patient, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Stomach, colon and loops of small bowel: neighbours that no label names."""
    wall, stomach_fill = patient.hu["bowel"], float(rng.choice((12.0, 35.0, 160.0), p=(0.5, 0.4, 0.1)))
    gas_y, stomach_bumps = rng.uniform(-55, -25), draw_bumps(rng, 0.10)
    loops = rng.uniform(-1, 1, (18, 7))
    wobble = rng.normal(0, 6, (3, 5, 3))
    for loop in loops:
        centre = np.array((74 * loop[0], -24 + 34 * loop[1], -108 + 84 * loop[2]))
        axis = 34 * loop[3:6] * (1, 1, 0.6)
        region, shape = canvas.tube(
            (centre - axis, centre + 6 * loop[[4, 5, 3]], centre + axis), np.full(3, 14.0 + 3 * loop[6])
        )
        shape = np.minimum(shape, cavity[region.where] - 5)
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
        region, shape = canvas.tube(points, np.full(5, 17.0), halo=5)
        # Haustra: the radius swells and shrinks along the colon.
        swell = 2.2 * np.sin((region.x + region.z) * np.float32(0.22))
        shape = np.minimum(shape + swell, cavity[region.where] - 5)
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

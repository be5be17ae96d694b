"""Phantoms of few voxels, and what lies in them."""

from dataclasses import replace

import numpy as np
from medvol_r1.phantom.anatomy import PHASES, Patient
from medvol_r1.phantom.canvas import Canvas
from medvol_r1.phantom.scan import LABELS, make_phantom

SHAPE = (96, 96, 32)


IDS = {name: value for value, name in LABELS.items()}


def small(seed, subset, shape=SHAPE):
    return make_phantom(seed, subset, shape=shape, canonical=True)


def mask_of(phantom, name):
    return phantom.label == IDS[name]


def millilitres(phantom):
    voxel = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
    return {name: (phantom.label == value).sum() * voxel for value, name in phantom.label_names.items()}


def standard_patient(**changes):
    """Of average shape, in the portal venous phase."""
    hu = {name: float(values[2]) for name, values in PHASES.items()}
    kidneys = {"right": (-60.0, 42.0, -8.0), "left": (62.0, 42.0, 8.0)}
    patient = Patient(2, hu, 15.0, 3.0, dome_z=132.0, absent=frozenset(), kidneys=kidneys)
    return replace(patient, **changes)


def standard_canvas(low_z, high_z, step=4.0):
    """Without warp: voxels are where the standard patient has them."""
    side = np.arange(-200.0, 200.0, step)
    return Canvas(side, side, np.arange(low_z, high_z, step), 0.0, np.random.default_rng(0), 0.0)


def centre_mm(canvas, name, low_z, step=4.0):
    """(x, y, z) of a structure on a standard canvas."""
    z, y, x = np.argwhere(canvas.label == IDS[name]).mean(axis=0) * step
    return x - 200, y - 200, z + low_z

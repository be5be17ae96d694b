"""Abdominal organs: their size, their pieces, that their shapes are not simple; a kidney's side and texture."""

import numpy as np
import pytest
from medvol_r1.phantom.anatomy import IDS
from medvol_r1.phantom.organs import paint_kidney, paint_spleen
from scipy.ndimage import label as connected_components
from scipy.spatial import ConvexHull
from small_phantoms import SHAPE, mask_of, millilitres, small, standard_canvas, standard_patient


@pytest.mark.parametrize("seed", range(10))
def test_organs_start_and_end_along_the_body(seed):
    phantom = small(seed, "organs")
    for name in ("right kidney", "left kidney", "spleen", "pancreas", "liver"):
        area = mask_of(phantom, name).sum(axis=(0, 1))
        if not area.any():
            continue
        where = np.flatnonzero(area)
        assert where[-1] - where[0] + 1 < SHAPE[2], name  # not in all slices
        assert (where[-1] < SHAPE[2] - 1) or (where[0] > 0), name
        assert len(set(area[where].tolist())) >= 4, name  # its section changes
        # Nearly all of an organ is one piece.
        pieces, count = connected_components(mask_of(phantom, name), np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.85 * area.sum(), (name, count)


def solidity(section):
    """Area of a section over the area of its convex hull; pixels count as unit squares."""
    points = np.argwhere(section)
    corners = np.concatenate([points + offset for offset in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))])
    return section.sum() / ConvexHull(corners).volume


def test_shapes_are_not_ellipsoids():
    """An ellipse of this size has a solidity above 0.93 on a grid; a bean, a crescent and a bent tube do not."""
    least = {"right kidney": [], "left kidney": [], "spleen": [], "pancreas": [], "liver": []}
    for seed in range(5):
        phantom = small(seed, "organs", (128, 128, 32))
        for name, values in least.items():
            sections = [s for s in np.moveaxis(mask_of(phantom, name), 2, 0) if s.sum() > 60]
            if sections:
                values.append(min(solidity(section) for section in sections))
    for name, values in least.items():
        assert np.median(values) < 0.90, (name, values)


def test_sizes_are_plausible():
    """Medians over patients in ml, of small and large ones; adult textbook values are about 1500 for the liver, 150-200
    for a kidney or spleen, 80-100 for a pancreas."""
    volumes = [millilitres(small(seed, "organs")) for seed in range(12)]
    expected = {"liver": (700, 1800), "right kidney": (70, 220), "left kidney": (70, 220), "spleen": (50, 300)}
    for name, (low, high) in (expected | {"pancreas": (30, 130)}).items():
        assert low < np.median([volume[name] for volume in volumes]) < high, name


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_kidney_lies_where_the_patient_has_it_and_an_absent_one_nowhere(side):
    patient, canvas = standard_patient(), standard_canvas(-80, 80, step=3.0)
    paint_kidney(canvas, patient, side, np.random.default_rng(0))
    found = np.argwhere(canvas.label == IDS[f"{side} kidney"])
    z, y, x = found.mean(axis=0) * 3 + (-80, -200, -200)
    assert np.abs(np.array((x, y, z)) - patient.kidneys[side]).max() < 12
    # cortex outside, medulla inside: portal venous, 190 and 158 HU
    values = canvas.image[canvas.label == IDS[f"{side} kidney"]]
    assert np.percentile(values, 90) == pytest.approx(190, abs=8) and np.percentile(values, 10) < 165
    canvas = standard_canvas(-80, 80)
    paint_kidney(canvas, standard_patient(absent=frozenset({f"{side} kidney"})), side, np.random.default_rng(0))
    assert not canvas.label.any()
    paint_spleen(canvas, standard_patient(absent=frozenset({"spleen"})), None, np.random.default_rng(0))
    assert (canvas.image == -1000).all()

"""Bones and the head stand where the standard patient has them."""

import numpy as np
import pytest
from medvol_r1.phantom.anatomy import IDS
from medvol_r1.phantom.skeleton import paint_head, paint_pelvis, paint_ribs, paint_spine
from small_phantoms import centre_mm, mask_of, small, standard_canvas, standard_patient


def test_brain_in_about_half_of_the_whole_body_scans():
    seen = [mask_of(small(seed, "whole_body", (24, 24, 24)), "brain").any() for seed in range(60)]
    assert 0.35 < np.mean(seen) < 0.65


def test_the_spine_lies_behind_in_the_middle_with_discs_between_vertebrae():
    canvas = standard_canvas(-60, 60, step=2.0)
    paint_spine(canvas, standard_patient(), np.random.default_rng(0))
    x, y, _ = centre_mm(canvas, "bone", -60, step=2.0)
    assert abs(x) < 3 and 55 < y < 90
    body = canvas.label[:, (55 + 200) // 2, 200 // 2] == IDS["bone"]  # up through the bodies' middle
    starts = np.flatnonzero(np.diff(body.astype(int)) == 1)
    assert len(starts) >= 3 and set(np.diff(starts) * 2) == {32}  # a segment is 32 mm
    assert canvas.image[:, (79 + 200) // 2, 200 // 2] == pytest.approx(28, abs=1)  # the canal is no bone


def test_the_pelvis_is_two_sided_and_below():
    canvas = standard_canvas(-300, 40)
    paint_pelvis(canvas, standard_patient(), np.random.default_rng(0))
    bone = canvas.label == IDS["bone"]
    left, right = bone[:, :, 51:].sum(), bone[:, :, :50].sum()
    assert left == pytest.approx(right, rel=0.05) and left > 1000
    assert np.flatnonzero(bone.any(axis=(1, 2))).max() * 4 - 300 < -50


def test_ribs_run_in_the_wall_of_the_cavity():
    canvas = standard_canvas(0, 300)
    x, y = (np.arange(-200.0, 200.0, 4.0)[None, None, :], np.arange(-200.0, 200.0, 4.0)[None, :, None])
    cavity = np.broadcast_to(100 - np.sqrt(x * x + y * y), canvas.label.shape).astype(np.float32)
    paint_ribs(canvas, cavity, np.random.default_rng(0))
    ribs = canvas.label == IDS["bone"]
    depth = cavity[ribs]
    assert ribs.sum() > 500 and (depth > -12).all() and (depth < 4).all()
    side = ribs[:, 50, 25:27].any(axis=1)  # up along the right flank: a rib every 25 mm
    assert 5 <= (np.diff(side.astype(int)) == 1).sum() <= 11


def test_the_brain_fills_the_skull():
    canvas = standard_canvas(320, 520)
    paint_head(canvas, standard_patient(), np.random.default_rng(0))
    x, y, z = centre_mm(canvas, "brain", 320)
    assert abs(x) < 4 and abs(y + 4) < 8 and abs(z - 425) < 12
    millilitres = (canvas.label == IDS["brain"]).sum() * 0.064
    assert 1100 < millilitres < 1850  # half-axes of 65, 84 and 66 mm make 1540; up to 6% more or less, less the folds
    inside = np.argwhere(canvas.label == IDS["brain"])
    bone = np.argwhere(canvas.label == IDS["bone"])
    assert (inside.min(axis=0) > bone.min(axis=0))[1:].all() and (inside.max(axis=0) < bone.max(axis=0)).all()

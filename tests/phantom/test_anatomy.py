"""The patient as drawn; trunk, chest and vessels on a canvas without warp, where the standard patient has them."""

import numpy as np
import pytest
from medvol_r1.phantom.anatomy import IDS, PHASES, diaphragm, draw_patient, paint_chest, paint_trunk, paint_vessels
from small_phantoms import centre_mm, standard_canvas, standard_patient


def test_organs_are_missing_now_and_then():
    absent = [draw_patient(np.random.default_rng(seed)).absent for seed in range(2000)]
    # 4% each; two standard deviations of 2000 draws are 0.9%.
    assert np.mean(["spleen" in names for names in absent]) == pytest.approx(0.04, abs=0.015)
    one_kidney = [("right kidney" in names) + ("left kidney" in names) for names in absent]
    assert np.mean(one_kidney) == pytest.approx(0.04, abs=0.015)
    assert max(one_kidney) == 1


def test_a_patient_s_hu_are_those_of_his_phase():
    """Within 5 standard deviations: 5% of the phase's value and 2 HU."""
    phases = set()
    for seed in range(40):
        patient = draw_patient(np.random.default_rng(seed))
        phases.add(patient.phase)
        for name, values in PHASES.items():
            expected = values[patient.phase]
            assert abs(patient.hu[name] - expected) < 5 * (0.05 * expected + 2), (seed, name)
        assert patient.kidneys["right"][0] < 0 < patient.kidneys["left"][0]
    assert phases == {0, 1, 2, 3}


def test_the_trunk_is_skin_fat_muscle_and_fat_from_outside_in():
    """Along the front at the kidneys' height; the cavity's distance is positive inside."""
    patient, canvas = standard_patient(), standard_canvas(-8, 8)
    cavity = paint_trunk(canvas, patient, np.random.default_rng(0))
    front = canvas.image[2, :50, 50]  # y from -200 mm to 0, at x = 0
    assert front[0] == -1000 and front[-1] == pytest.approx(-98, abs=1)
    tissue = front[front > -900]
    muscle, fat = np.flatnonzero(front > 30), np.flatnonzero((front > -110) & (front < -100))
    assert len(tissue) and fat.max() < muscle.min(), "subcutaneous fat lies in front of muscle"
    assert cavity[2, 51, 50] == pytest.approx(83 - 4, abs=1)  # 4 mm behind the axis, half the depth is 83 mm
    assert cavity[2, 0, 50] == pytest.approx(83 - 200, abs=1)


def test_lungs_lie_above_the_diaphragm_each_on_its_side():
    patient, canvas = standard_patient(), standard_canvas(40, 300)
    cavity = paint_trunk(canvas, patient, np.random.default_rng(0))
    paint_chest(canvas, patient, cavity, np.random.default_rng(1))
    for side, sign in (("right", -1), ("left", 1)):
        x, _, z = centre_mm(canvas, f"{side} lung", 40)
        assert 40 < sign * x < 100 and 150 < z < 240
        z, y, x = (np.argwhere(canvas.label == IDS[f"{side} lung"]) * 4 + (40, -200, -200)).T
        assert (z > diaphragm(x, y, patient, sign)).all()
    # the right dome stands 9 mm higher; 66 mm lower at one half-width from its top
    assert diaphragm(-58, -12, patient, -1) == pytest.approx(132)
    assert diaphragm(58, -12, patient, 1) == pytest.approx(123)
    assert diaphragm(-58 - 74, -12, patient, -1) == pytest.approx(132 - 66)


def test_the_aorta_is_on_the_left_and_as_bright_as_the_patient_s():
    patient, canvas = standard_patient(), standard_canvas(30, 50)
    paint_vessels(canvas, patient, np.random.default_rng(0))
    slice_ = canvas.image[2]
    x_of = {}
    for name in ("aorta", "vein"):
        columns = np.argwhere(np.abs(slice_ - patient.hu[name]) < 1)[:, 1] * 4 - 200
        x_of[name] = columns.mean()
    assert x_of["aorta"] == pytest.approx(10, abs=8) and x_of["vein"] == pytest.approx(-20, abs=8)

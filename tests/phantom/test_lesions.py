"""Tumors and cysts lie on a kidney that is there."""

import numpy as np
from medvol_r1.phantom.lesions import paint_lesions
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as connected_components
from small_phantoms import mask_of, small, standard_canvas, standard_patient


def test_lesions_sit_on_kidneys():
    present = {"tumor": 0, "cyst": 0}
    count = 40
    for seed in range(count):
        phantom = small(seed, "renal", (96, 96, 20))
        kidneys = mask_of(phantom, "right kidney") | mask_of(phantom, "left kidney")
        near = binary_dilation(kidneys, np.ones((3, 3, 3)))
        spacing = np.linalg.norm(phantom.affine[:3, :3], axis=0)
        for name in present:
            lesions, found = connected_components(mask_of(phantom, name), np.ones((3, 3, 3)))
            present[name] += found > 0
            for lesion in (lesions == number for number in range(1, found + 1)):
                if lesion.sum() * np.prod(spacing) < 300:
                    continue  # a crumb that a neighbouring structure cut off
                assert (lesion & near).any(), (seed, name)
                width = np.ptp(np.argwhere(lesion)[:, :2], axis=0).max() + 1
                assert 4 <= width and width * spacing[0] < 75, (seed, name)
    assert present["tumor"] >= 0.9 * count
    assert 0.35 * count <= present["cyst"] <= 0.65 * count


def test_no_lesion_lies_where_a_kidney_is_absent():
    """Only the left kidney is there: in ten patients every lesion lies on the left, and within the body."""
    patient, painted = standard_patient(absent=frozenset({"right kidney"})), 0
    for seed in range(10):
        canvas = standard_canvas(-120, 120)
        cavity = np.full(canvas.label.shape, 100.0, np.float32)
        cavity[:, : 50 + 5] = -100.0  # nothing of the body in front of y = 20
        paint_lesions(canvas, patient, cavity, 1.0, np.random.default_rng(seed))
        z, y, x = (np.argwhere(canvas.label > 0) * 4 + (-120, -200, -200)).T
        painted += len(x) > 0
        assert (x > 0).all() and (y >= 20).all()
    assert painted >= 8


def test_lesions_have_true_sizes():
    """Tumors of 16 to 60 mm and cysts of 15 to 50 mm in a patient of half the size too."""
    for scale in (1.0, 0.5):
        for seed in range(8):
            canvas = standard_canvas(-150, 150, step=3.0)
            cavity = np.full(canvas.label.shape, 100.0, np.float32)
            paint_lesions(canvas, standard_patient(), cavity, scale, np.random.default_rng(seed))
            lesions, found = connected_components(canvas.label > 0, np.ones((3, 3, 3)))
            for number in range(1, found + 1):
                diameter = 2 * (0.75 / np.pi * (lesions == number).sum() * 3**3) ** (1 / 3) * scale
                assert 12 < diameter < 66, (scale, seed)

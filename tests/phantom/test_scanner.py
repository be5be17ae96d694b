"""Scans are clinical: their range, their grid, their blur and noise."""

import numpy as np
import pytest
from medvol_r1.phantom.scan import ALL_SUBSETS, SEEDS, make_phantom
from medvol_r1.phantom.scanner import LONGEST_MM, acquire, draw_scan, draw_shape


@pytest.mark.parametrize("subset", ALL_SUBSETS)
def test_default_grid_is_clinical(subset):
    phantom = make_phantom(SEEDS["test"][0], subset)
    axial = np.abs(np.linalg.inv(phantom.affine)[:3, 2]).argmax()
    spacing = np.linalg.norm(phantom.affine[:3, :3], axis=0)
    in_plane = np.delete(spacing, axial)
    assert ((0.6 <= in_plane) & (in_plane <= 1.5)).all()
    assert 1 <= spacing[axial] <= 5
    assert 20 <= phantom.image.shape[axial] <= 120


def test_a_scan_s_range_is_that_of_its_subset_and_never_too_long():
    for seed in range(200):
        ranges = {}
        for subset in ("organs", "renal", "whole_body"):
            scan = draw_scan(subset, 15.0, np.random.default_rng(seed))
            ranges[subset] = scan.low_z, scan.high_z
            assert (scan.high_z - scan.low_z) * scan.scale <= LONGEST_MM + 1e-6
            columns, rows, slices = draw_shape(scan, np.random.default_rng(seed))
            assert 0.5 < scan.field_mm / columns <= 1.5 and rows >= columns
            assert 20 <= slices <= 120 and (scan.high_z - scan.low_z) * scan.scale / slices <= 5 + 1e-6
        assert ranges["organs"][0] <= -60 and ranges["organs"][1] >= 130  # kidneys and the liver's dome
        assert ranges["renal"][1] - ranges["renal"][0] < 265
        assert ranges["whole_body"][1] >= 200


def test_noise_and_blur_keep_the_mean_and_round_off_edges():
    image = np.full((6, 64, 64), 40.0, np.float32)
    image[:, :, 32:] = 240.0
    seen = acquire(image, 1.0, 10.0, np.random.default_rng(0))  # thick slices: they do not mix
    assert seen.dtype == np.float32 and seen.shape == image.shape
    assert seen[:, :, :28].mean() == pytest.approx(40, abs=1) and seen[:, :, 36:].mean() == pytest.approx(240, abs=1)
    assert 2 < seen[:, :, :28].std() < 40
    edge = seen.mean(axis=(0, 1))[30:34]
    assert (np.diff(edge) > 0).all() and 60 < edge[1] < 140 < edge[2] < 220


def test_thin_slices_show_a_tenth_of_their_neighbours():
    """A slice of 1000 HU between slices of 0: 800 remain, 100 on each side."""
    image = np.zeros((5, 48, 48), np.float32)
    image[2] = 1000.0
    means = acquire(image, 1.0, 2.0, np.random.default_rng(0)).mean(axis=(1, 2))
    np.testing.assert_allclose(means, (0, 100, 800, 100, 0), atol=3)
    ends = acquire(np.full((3, 48, 48), 100.0, np.float32), 1.0, 2.0, np.random.default_rng(1))
    np.testing.assert_allclose(ends.mean(axis=(1, 2)), 100, atol=3)  # the outer slices lose nothing

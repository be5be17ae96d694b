"""What values tell: volumes in HU are not doubted, others are, and labels are whole numbers."""

import re

import numpy as np
import pytest
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.voxel_values import doubt_of_hu, looks_like_hu, rounded_labels

SHAPE = (40, 40, 20)


@pytest.fixture(scope="module")
def scan():
    """A CT of a phantom, with air, fat, soft tissue and bone."""
    return make_phantom(3, "whole_body", shape=(64, 64, 24), canonical=True).image


def noise(mean, spread, seed=0):
    return np.random.default_rng(seed).normal(mean, spread, SHAPE).astype(np.float32)


def test_hu_is_not_doubted(scan):
    padded = np.where(np.indices(scan.shape)[0] < 20, -32768, scan)
    middle = scan[24:40, 24:40]  # no air around
    bone_and_marrow = np.where(np.indices(SHAPE)[0] < 5, noise(700, 200), noise(-60, 40, 1))
    for volume in (scan, padded, middle, bone_and_marrow, noise(-850, 60), noise(40, 40)):
        assert doubt_of_hu(volume) is None


@pytest.mark.parametrize(
    ("make", "doubt"),
    [
        (lambda scan: scan.clip(-1024) + 1024, "nothing lies near -1000 .* without the rescale intercept"),
        # Raw 0..4095 with padding at -2000: below 0, and not HU.
        (lambda scan: np.where(np.indices(scan.shape)[0] < 20, -2000, scan.clip(-1024) + 1024), "nothing lies near"),
        (lambda scan: (scan - scan.mean()) / scan.std(), r"spans [\d.]+ alone, like normalised values"),
        (lambda scan: np.full(scan.shape, -2000.0) + scan / 100, "all of it lies below -1100"),
        # MR: noise around 0, tissue at 500.
        (
            lambda scan: np.where(np.indices(SHAPE)[0] < 20, noise(0, 25), noise(500, 80, 1)),
            "50% above 300 .*like .*MR",
        ),
    ],
    ids=["raw", "padded raw", "z-scores", "padding", "MR"],
)
def test_what_is_not_hu_is_told_by_its_distribution(scan, make, doubt):
    assert re.search(doubt, doubt_of_hu(make(scan).astype(np.float32)))


def test_one_voxel_below_zero_is_no_sign_of_hu():
    volume = noise(400, 50).clip(0)
    volume[0, 0, 0] = -1000
    assert "nothing lies near -1000" in doubt_of_hu(volume)


def test_whole_numbers_within_a_thousandth():
    values = np.array([0.9999, 1.0000001, 1e-7, -1e-7, 3, 0.002, 2.5, 255.0005], dtype=np.float32)
    labels, soft = rounded_labels(values)
    assert labels.tolist() == [1, 1, 0, 0, 3, 0, 2, 255]
    assert soft.tolist() == [False, False, False, False, False, True, True, False]


def test_a_ct_is_known_by_its_air(scan):
    assert looks_like_hu(scan) and looks_like_hu(noise(-850, 60))
    mr = np.where(np.indices(SHAPE)[0] < 20, noise(0, 25), noise(500, 80, 1))
    for volume in (mr, scan.clip(-1024) + 1024, (scan - scan.mean()) / scan.std(), scan[24:40, 24:40].clip(-200)):
        assert not looks_like_hu(volume.astype(np.float32))

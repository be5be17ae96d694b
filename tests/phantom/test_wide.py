"""The wide phantoms: that nothing but its look tells where an organ is."""

import numpy as np
import pytest
from medvol_r1.phantom.scan import LABELS, make_phantom
from medvol_r1.phantom.wide import acquire_wide, draw_wide_patient, draw_wide_scan

IDS = {name: value for value, name in LABELS.items()}


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(seed, "wide", shape=(48, 48, 24), canonical=True) for seed in range(60)]


def test_ranges_from_a_slab_to_the_whole_body():
    lengths, lows = [], []
    for seed in range(400):
        scan = draw_wide_scan(20.0, np.random.default_rng(seed))
        lengths.append((scan.high_z - scan.low_z) * scan.scale)
        lows.append(scan.low_z)
        assert -300 <= scan.low_z < scan.high_z <= 510
    assert 59 < min(lengths) < 70 and 580 < max(lengths) < 600
    assert np.percentile(lows, 95) - np.percentile(lows, 5) > 300


def test_every_organ_is_often_in_view_and_often_not(phantoms):
    seen = np.array([[(p.label == value).any() for value in IDS.values() if value <= 10] for p in phantoms])
    share = dict(zip(IDS, seen.mean(axis=0), strict=False))
    for name, value in share.items():
        assert 0.1 < value < (0.9 if name != "bone" else 1.01), (name, value)


def test_the_frame_does_not_tell_the_place(phantoms):
    """The place of the liver's centre varies over a third of the frame, in plane and through it."""
    livers = [p.label == IDS["liver"] for p in phantoms]
    centres = [np.argwhere(liver).mean(axis=0) / liver.shape for liver in livers if liver.sum() > 50]
    spread = np.percentile(centres, 95, axis=0) - np.percentile(centres, 5, axis=0)
    assert spread[0] > 0.15 and spread[1] > 0.12 and spread[2] > 0.33, spread


def test_the_body_may_be_small_in_its_slice_or_cut_off(phantoms):
    share = [(p.image > -300).any(axis=2).any(axis=1).mean() for p in phantoms]
    assert min(share) < 0.62 and max(share) > 0.97


def test_contrast_is_drawn_for_each_organ():
    """Liver darker than spleen and brighter, with and without contrast in the kidneys."""
    patients = [draw_wide_patient(np.random.default_rng(seed)) for seed in range(300)]
    difference = [p.hu["liver"] - p.hu["spleen"] for p in patients]
    assert 0.15 < np.mean(np.array(difference) > 0) < 0.75
    cortex = np.array([p.hu["cortex"] for p in patients])
    assert np.mean(cortex < 70) > 0.15 and np.mean(cortex > 130) > 0.3
    assert min(p.fat_mm for p in patients) < 5 and max(p.fat_mm for p in patients) > 42


def test_noise_keeps_the_mean_and_has_the_range_it_says():
    deviations = []
    for seed in range(40):
        image = acquire_wide(np.full((6, 64, 64), 50.0, np.float32), np.random.default_rng(seed))
        assert abs(image.mean() - 50) < 16  # 4 standard deviations of the calibration
        deviations.append(image.std())
    assert 2.9 < min(deviations) < 6 and 20 < max(deviations) < 36


def test_right_stays_right(phantoms):
    for phantom in phantoms:
        right, left = (np.argwhere(phantom.label == IDS[f"{side} lung"]) for side in ("right", "left"))
        if len(right) > 30 and len(left) > 30:
            assert right[:, 0].mean() < left[:, 0].mean()  # the first axis runs to the patient's left


def test_arms_lie_in_the_air_beside_the_body():
    """In some scans there is soft tissue apart from the trunk, which no label names."""
    apart = 0
    for seed in range(40):
        phantom = make_phantom(seed, "wide", shape=(64, 64, 8), canonical=True)
        middle = phantom.image[:, :, 4] > -300
        columns = middle.any(axis=1)
        apart += np.count_nonzero(np.diff(columns.astype(int)) == 1) > 1
    assert apart >= 3

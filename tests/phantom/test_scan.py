import itertools

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.phantom.scan import ALL_SUBSETS, LABELS, SEEDS, SUBSETS, make_phantom
from scipy.ndimage import binary_erosion, center_of_mass
from small_phantoms import SHAPE, mask_of, millilitres, small

# Labels of each subset, after the paper's three data sets; a kidney never includes its lesions.
SUBSET_LABELS = {
    "organs": {1, 2, 3, 4, 5},
    "whole_body": {1, 2, 3, 6, 7, 8, 9, 10},
    "renal": {2, 3, 11, 12},
    "wide": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
}


def world_centre(phantom, name):
    """Centre of a structure in RAS+ mm."""
    return phantom.affine[:3, :3] @ center_of_mass(mask_of(phantom, name)) + phantom.affine[:3, 3]


def test_seed_ranges_are_disjoint():
    for (name, a), (other, b) in itertools.combinations(SEEDS.items(), 2):
        assert a[-1] < b[0] or b[-1] < a[0], (name, other)
    assert set(SEEDS) == {"train", "validation", "test", "pretrain"}


@pytest.mark.parametrize("subset", ALL_SUBSETS)
@pytest.mark.parametrize("canonical", [True, False])
def test_same_arguments_give_the_same_phantom(subset, canonical):
    first = make_phantom(3, subset, shape=(40, 48, 12), canonical=canonical)
    np.random.seed(0)  # must not matter
    second = make_phantom(3, subset, shape=(40, 48, 12), canonical=canonical)
    for a, b in zip(first[:3], second[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_phantom(4, subset, shape=(40, 48, 12), canonical=canonical)
    assert not np.array_equal(np.sort(first.image, axis=None), np.sort(other.image, axis=None))


def test_subsets_differ_for_one_seed():
    a, b = small(0, "organs", (32, 32, 8)), small(0, "renal", (32, 32, 8))
    assert not np.array_equal(a.image, b.image)


@pytest.mark.parametrize("subset", ALL_SUBSETS)
def test_labels_of_subset(subset):
    seen = set()
    for seed in (*range(8), 19):  # the first wide scan that shows the head
        phantom = small(seed, subset)
        assert phantom.image.shape == phantom.label.shape == SHAPE
        assert phantom.image.dtype == np.float32 and phantom.label.dtype == np.uint8
        assert phantom.affine.dtype == np.float64
        assert phantom.label_names == {value: LABELS[value] for value in SUBSET_LABELS[subset]}
        seen |= set(np.unique(phantom.label).tolist())
    assert seen == SUBSET_LABELS[subset] | {0}


# HU of the inner voxels, over all contrast phases: unenhanced parenchyma is about 35-60, the renal cortex in the
# arterial phase about 180; urine and cysts are water; lungs mostly air.
HU_RANGES = {
    "liver": (35, 140),
    "right kidney": (15, 230),
    "left kidney": (15, 230),
    "spleen": (30, 150),
    "pancreas": (20, 130),
    "bladder": (-10, 30),
    "right lung": (-910, -740),
    "left lung": (-910, -740),
    "brain": (20, 45),
    "tumor": (10, 120),
    "cyst": (-5, 40),
}


@pytest.mark.parametrize("subset", SUBSETS)
def test_hu_of_structures(subset):
    for seed in range(6):
        phantom = small(seed, subset)
        assert np.isfinite(phantom.image).all()
        assert phantom.image.min() >= -1024 and phantom.image.max() <= 1500
        assert phantom.image[0, 0].mean() < -900  # air in the corner
        for value, name in phantom.label_names.items():
            inner = binary_erosion(phantom.label == value, np.ones((3, 3, 1)))
            if name in HU_RANGES and inner.sum() >= 20:
                low, high = HU_RANGES[name]
                assert low < np.median(phantom.image[inner]) < high, (seed, name)
            if name == "bone":
                assert np.percentile(phantom.image[phantom.label == value], 90) > 300
                assert np.median(phantom.image[phantom.label == value]) > 150
            if name == "liver":
                assert 1 < phantom.image[inner].std() < 40  # noise and vessels


@pytest.mark.parametrize("subset", SUBSETS)
def test_given_shape_decides_the_spacing(subset):
    coarse, fine = small(1, subset, (48, 48, 16)), small(1, subset, (96, 96, 32))
    # The field of view is the same: half the voxels, twice the spacing.
    np.testing.assert_allclose(coarse.affine[:3, :3], 2 * fine.affine[:3, :3], rtol=1e-12)
    extent = np.linalg.norm(fine.affine[:3, :3], axis=0) * SHAPE
    assert (150 < extent[:2]).all() and (extent[:2] < 460).all()
    # The anatomy is the same too, as far as the coarse grid resolves it (10%: kidneys are 50 voxels there per slice).
    for name, volume in millilitres(fine).items():
        if volume > 60 and name != "bone":
            assert millilitres(coarse)[name] == pytest.approx(volume, rel=0.10), name


def test_not_square_shape_keeps_pixels_square():
    phantom = small(0, "organs", (80, 120, 10))
    spacing = np.linalg.norm(phantom.affine[:3, :3], axis=0)
    assert phantom.image.shape == (80, 120, 10)
    assert spacing[0] == pytest.approx(spacing[1], rel=1e-12)


def test_one_slice():
    assert small(0, "whole_body", (32, 32, 1)).image.shape == (32, 32, 1)


@pytest.mark.parametrize("seed", range(12))
def test_random_axes_hold_the_canonical_volume(seed):
    subset = ALL_SUBSETS[seed % 4]
    canonical = make_phantom(seed, subset, shape=(40, 48, 20), canonical=True)
    turned = make_phantom(seed, subset, shape=(40, 48, 20))
    # Obliqueness: a rotation, at most 5 degrees away from the axes; for a rotation R, trace = 1 + 2 cos(angle).
    spacing = np.linalg.norm(turned.affine[:3, :3], axis=0)
    directions = turned.affine[:3, :3] / spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    ornt = nib.io_orientation(turned.affine)
    to_lps = nib.orientations.ornt_transform(ornt, nib.orientations.axcodes2ornt("LPS"))
    np.testing.assert_array_equal(nib.apply_orientation(turned.image, to_lps), canonical.image)
    np.testing.assert_array_equal(nib.apply_orientation(turned.label, to_lps), canonical.label)
    back = turned.affine @ nib.orientations.inv_ornt_aff(to_lps, turned.image.shape)
    rotation = back[:3, :3] @ np.linalg.inv(canonical.affine[:3, :3])
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    assert angle <= 5 + 1e-6
    assert min(turned.image.strides) > 0 and min(turned.label.strides) > 0  # torch refuses negative strides


def test_axes_are_permuted_and_flipped():
    codes = {nib.aff2axcodes(make_phantom(seed, "organs", shape=(16, 16, 4)).affine) for seed in range(40)}
    assert len(codes) > 20  # of 48
    assert nib.aff2axcodes(small(0, "organs", (16, 16, 4)).affine) == ("L", "P", "S")


@pytest.mark.parametrize("canonical", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_sides_follow_the_affine(seed, canonical):
    whole = make_phantom(seed, "whole_body", shape=(64, 64, 32), canonical=canonical)
    centres = {name: world_centre(whole, name) for name in whole.label_names.values() if mask_of(whole, name).any()}
    # RAS+: x grows to the patient's right, y to the front, z to the head. The 5 degrees move a centre by few mm.
    assert centres["right lung"][0] > centres["left lung"][0] + 60
    if {"right kidney", "left kidney"} <= set(centres):
        assert centres["right kidney"][0] > centres["left kidney"][0] + 50
    assert centres["liver"][0] > centres["bone"][0]
    assert centres["liver"][1] > centres["bone"][1]
    assert centres["right lung"][2] > centres["liver"][2] + 20
    if "bladder" in centres:
        assert centres["liver"][2] > centres["bladder"][2] + 100
    organs = make_phantom(seed, "organs", shape=(64, 64, 32), canonical=canonical)
    if mask_of(organs, "spleen").any():
        assert world_centre(organs, "liver")[0] > world_centre(organs, "spleen")[0] + 80


def test_position_alone_does_not_give_the_answer():
    """The same voxel is liver in some patients and not in others, for most of the voxels that ever are."""
    share = np.mean([mask_of(small(seed, "organs", (48, 48, 16)), "liver") for seed in range(20)], axis=0)
    ever = share > 0
    assert np.mean(share[ever] < 0.9) > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "heart"), r"subset must be one of organs, whole_body, renal, wide, got 'heart'"),
        ((-1, "organs"), r"seed must be a whole number >= 0 .*got -1"),
        ((1.5, "organs"), r"seed must be a whole number >= 0 .*got 1.5"),
        ((True, "organs"), r"seed must be a whole number >= 0 .*got True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(*arguments)


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 0), (8, 96, 32), (96.0, 96, 32), (96, 96, 32, 1), 96, "abc"])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"shape must be three whole numbers \(columns >= 16, rows >= 16, slices"):
        make_phantom(0, "organs", shape=shape)

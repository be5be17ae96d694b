"""Scores of masks against numbers that are computed another way: scipy's surfaces and distances, and arithmetic."""

import numpy as np
import pytest
import torch
from medvol_r1.evaluation.volume_metrics import VolumeScores, volume_scores, voxel_spacing
from monai.metrics import DiceMetric, HausdorffDistanceMetric, MeanIoU, SurfaceDiceMetric
from scipy import ndimage
from scipy.spatial import cKDTree

SHAPE = (14, 12, 10)


def blob(seed, threshold=0.0):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return ndimage.gaussian_filter(noise, 1.5) > threshold


def box(x, y, z, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def surface_points(mask, spacing):
    """Voxels with a face neighbor outside, in mm: by shifting the padded mask, without any morphology."""
    padded = np.pad(mask, 1)
    inside = padded.copy()
    for axis in range(3):
        for step in (1, -1):
            inside &= np.roll(padded, step, axis)
    return np.argwhere(padded & ~inside) * spacing


def reference(pred, truth, spacing, tolerance):
    """DSC, IoU, NSD, HD95 from sets of voxels and all nearest distances between surface points."""
    both, either = np.count_nonzero(pred & truth), np.count_nonzero(pred | truth)
    a, b = surface_points(pred, spacing), surface_points(truth, spacing)
    to_truth, to_pred = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    near = np.count_nonzero(to_truth <= tolerance) + np.count_nonzero(to_pred <= tolerance)
    return (
        2 * both / (pred.sum() + truth.sum()),
        both / either,
        near / (len(a) + len(b)),
        max(np.percentile(to_truth, 95), np.percentile(to_pred, 95)),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing, tolerance", [((1.0, 1.0, 1.0), 1.0), ((0.7, 0.8, 5.0), 2.0), ((2.5, 1.1, 1.3), 0.0)])
def test_random_masks_against_all_distances_between_surface_points(seed, spacing, tolerance):
    pred, truth = blob(seed), blob(seed + 100, 0.05)
    expected = reference(pred, truth, spacing, tolerance)
    assert volume_scores(pred, truth, spacing, tolerance) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_random_masks_against_monais_metric_classes_on_the_whole_grid(seed):
    pred, truth, spacing = blob(seed, 0.02), blob(seed + 50), [0.9, 1.2, 3.0]
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (pred, truth)]
    expected = [
        DiceMetric(ignore_empty=False)(*tensors).item(),
        MeanIoU(ignore_empty=False)(*tensors).item(),
        SurfaceDiceMetric([2.0], include_background=True)(*tensors, spacing=spacing).item(),
        HausdorffDistanceMetric(include_background=True, percentile=95)(*tensors, spacing=spacing).item(),
    ]
    scores = volume_scores(pred, truth, spacing, 2.0)
    assert scores[:3] == pytest.approx(expected[:3], rel=1e-6)
    # MONAI's 95th percentile is interpolated in single precision.
    assert scores.HD95_mm == pytest.approx(expected[3], rel=1e-5)


# Boxes [x, y, z] of voxels of 1 x 1 x 2 mm, tolerance 2 mm.
FULL = box((2, 6), (2, 6), (2, 6))
SHIFTED = box((3, 7), (2, 6), (2, 6))
FAR = box((9, 11), (2, 4), (2, 4))
EMPTY = np.zeros(SHAPE, bool)
GOLDEN = [
    ("the same", FULL, FULL, (1.0, 1.0, 1.0, 0.0)),
    # 64 voxels each, 48 shared: 2 * 48 / 128, 48 / 80; no surface voxel is farther than 1 mm from the other surface.
    ("moved by a voxel of 1 mm", SHIFTED, FULL, (0.75, 0.6, 1.0, 1.0)),
    ("all wrong: nothing shared, no surface within 2 mm", FAR, FULL, (0.0, 0.0, 0.0, None)),
    ("both empty", EMPTY, EMPTY, (1.0, 1.0, 1.0, None)),
    ("the prediction is empty", EMPTY, FULL, (0.0, 0.0, 0.0, None)),
    ("the truth is empty", FULL, EMPTY, (0.0, 0.0, 0.0, None)),
]


@pytest.mark.parametrize("pred, truth, expected", [row[1:] for row in GOLDEN], ids=[row[0] for row in GOLDEN])
def test_golden(pred, truth, expected):
    scores = volume_scores(pred, truth, (1.0, 1.0, 2.0), 2.0)
    assert scores[:3] == pytest.approx(expected[:3], abs=1e-6)
    if pred.any() and truth.any():
        wanted = reference(pred, truth, (1.0, 1.0, 2.0), 2.0)[3] if expected[3] is None else expected[3]
        assert scores.HD95_mm == pytest.approx(wanted, abs=1e-6)
    else:
        assert scores.HD95_mm is None


def test_the_inverse_of_the_truth_shares_nothing():
    assert volume_scores(~FULL, FULL, (1, 1, 1), 1.0)[:2] == (0.0, 0.0)


def test_masks_at_the_border_of_the_volume_have_a_surface_there():
    whole = np.ones((3, 3, 3), bool)
    # 27 voxels, all but the middle one at the border; the shell is the same surface, so NSD is 1 and DSC 52 / 53.
    shell = whole.copy()
    shell[1, 1, 1] = False
    assert volume_scores(whole, shell, (1, 1, 1), 0.0)[:3] == pytest.approx((52 / 53, 26 / 27, 1.0), abs=1e-6)


# Surfaces of two cubes of 4, one voxel of 1 mm apart along x: 4**3 - 2**3 = 56 voxels each. Shared are, of each of the
# three common planes x = const, what lies in both: a plane is a full square of 16 where it is an end of its cube, else
# a ring of 12. x = 3, the second plane of one and the end of the other: 12; x = 4: 12; x = 5: 12. So 36 of 56.
@pytest.mark.parametrize("tolerance, expected", [(1.0, 1.0), (0.99, 36 / 56)])
def test_the_tolerance_is_in_mm_and_inclusive(tolerance, expected):
    assert volume_scores(SHIFTED, FULL, (1, 1, 1), tolerance).NSD == pytest.approx(expected, abs=1e-6)


def test_spacing_scales_distances_along_its_axis_only():
    moved_in_z = box((2, 6), (2, 6), (4, 8))
    assert volume_scores(moved_in_z, FULL, (1, 1, 3), 0.0).HD95_mm == pytest.approx(6.0)
    assert volume_scores(moved_in_z, FULL, (3, 1, 1), 0.0).HD95_mm == pytest.approx(2.0)


def test_scores_do_not_depend_on_the_empty_space_around():
    pred, truth = blob(1), blob(2)
    wide = [np.pad(mask, 5) for mask in (pred, truth)]
    # A mask that touches the border has its surface there either way.
    assert volume_scores(*wide, (1, 2, 3), 2.0) == pytest.approx(volume_scores(pred, truth, (1, 2, 3), 2.0), rel=1e-6)


def test_spacing_comes_from_the_columns_of_the_affine():
    rotated = np.array([[0, -2, 0, 9], [0.6, 0, 0, 9], [0.8, 0, 5, 9], [0, 0, 0, 1]])
    assert voxel_spacing(rotated) == pytest.approx((1.0, 2.0, 5.0))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((FULL, FULL[1:], (1, 1, 1), 1.0), r"shapes \(14, 12, 10\) and \(13, 12, 10\)"),
        ((FULL[0], FULL[0], (1, 1, 1), 1.0), "rank 3"),
        ((FULL, FULL, (1, 0, 1), 1.0), r"spacing_mm is \[1, 0, 1\]; give three positive edges"),
        ((FULL, FULL, (1, 1, 1), -1.0), "tolerance_mm is -1.0; give 0 or more"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        volume_scores(*arguments)


def test_scores_have_names():
    assert VolumeScores._fields == ("DSC", "IoU", "NSD", "HD95_mm")

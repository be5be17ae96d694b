"""A mask on another grid: exact where the voxels are the same, else the nearest."""

import numpy as np
import pytest
from medvol_r1.benchmark.failures import MaskError
from medvol_r1.benchmark.placement import place_by_affine
from stored_labels import AFFINE, SHAPE


def test_crops_and_pads_are_exact(label):
    mask = label == 1
    corner = AFFINE.copy()
    corner[:3, 3] = (AFFINE @ [2, 1, 3, 1])[:3]
    placed = place_by_affine(mask[2:9, 1:8, 3:], corner, SHAPE, AFFINE)
    kept = np.zeros_like(mask)
    kept[2:9, 1:8, 3:] = mask[2:9, 1:8, 3:]
    assert placed.exact and np.array_equal(placed.mask, kept)
    corner[:3, 3] = (AFFINE @ [-2, -1, -3, 1])[:3]
    placed = place_by_affine(np.pad(mask, ((2, 5), (1, 0), (3, 3))), corner, SHAPE, AFFINE)
    assert placed.exact and np.array_equal(placed.mask, mask)


def test_a_grid_of_half_the_step_is_resampled(label):
    """Each voxel as 2 x 2 x 2; their centers lie half a fine voxel off, so either neighbour has the value."""
    fine = np.kron(label == 2, np.ones((2, 2, 2), bool))
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = (AFFINE @ [-0.25, -0.25, -0.25, 1])[:3]
    placed = place_by_affine(fine, affine, SHAPE, AFFINE)
    assert not placed.exact and np.array_equal(placed.mask, label == 2)


@pytest.mark.parametrize("seed", range(4))
def test_each_voxel_takes_the_nearest_of_a_turned_grid(seed):
    """Against indices computed one by one, for a mask on a larger grid that is turned against the image's."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 18, 16), bool)
    mask[5:14, 4:15, 6:11] = rng.random((9, 11, 5)) < 0.3
    c, s = np.cos(0.2 * seed), np.sin(0.2 * seed)
    affine = np.eye(4)
    affine[:3, :3] = AFFINE[:3, :3] @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.diag([1.1, 0.9, 1.3])
    center = (AFFINE @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    affine[:3, 3] = center - affine[:3, :3] @ (np.array(mask.shape) - 1) / 2 + 0.01
    placed = place_by_affine(mask, affine, SHAPE, AFFINE)
    to_mask = np.linalg.inv(affine) @ AFFINE
    expected = np.zeros(SHAPE, bool)
    for index in np.ndindex(SHAPE):
        nearest = np.floor((to_mask @ [*index, 1])[:3] + 0.5).astype(int)
        if (nearest >= 0).all() and (nearest < mask.shape).all():
            expected[index] = mask[tuple(nearest)]
    assert not placed.exact and expected.any() and np.array_equal(placed.mask, expected)


def test_voxels_at_the_edge_keep_their_whole_extent():
    """A mask of three thick voxels over an image of nine thin ones: the outer thin ones lie past the thick centers."""
    mask = np.ones((1, 1, 3), bool)
    affine = np.diag([2.0, 2, 3, 1])
    affine[:3, 3] = 5, 5, 1  # centers at 1, 4, 7 mm; the image's at 0, 1, ..., 8 mm
    image = np.diag([2.0, 2, 1, 1])
    image[:3, 3] = 5, 5, 0
    assert place_by_affine(mask, affine, (1, 1, 9), image).mask.all()


def test_another_place_is_refused():
    far = AFFINE @ np.diag([1.5, 1.5, 1, 1])
    far[:3, 3] += 300
    with pytest.raises(MaskError, match="not one field of view") as caught:
        place_by_affine(np.ones((8, 6, 7), bool), far, SHAPE, AFFINE)
    assert caught.value.reason == "other_space"

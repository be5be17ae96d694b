import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medvol_r1.volume.cropped_mask import CroppedMask, common_crops, foreground_window

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
MASKS = SHAPES.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))


@given(MASKS)
def test_a_mask_comes_back_whole(masks):
    cropped = CroppedMask.of(masks[0])
    np.testing.assert_array_equal(cropped.full(), masks[0])
    assert cropped.voxels == masks[0].sum() and cropped.full().dtype == bool


@given(MASKS)
def test_common_crops_keep_every_voxel_of_both(masks):
    first, second = common_crops(*map(CroppedMask.of, masks))
    assert first.shape == second.shape
    counts = [np.sum(first), np.sum(second), np.sum(first & second)]
    assert counts == [masks[0].sum(), masks[1].sum(), np.sum(masks[0] & masks[1])]


def test_the_window_is_the_bounding_box():
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1, 2, 3] = mask[3, 2, 6] = 9
    cropped = CroppedMask.of(mask)
    assert cropped.window == (slice(1, 4), slice(2, 3), slice(3, 7)) and cropped.voxels == 2
    assert foreground_window(np.zeros((2, 3), bool)) == (slice(0, 0), slice(0, 0))


def test_common_crops_are_no_larger_than_needed():
    first, second = np.zeros((2, 9, 9, 9), bool)
    first[2, 2, 2] = second[4, 5, 6] = True
    assert common_crops(CroppedMask.of(first), CroppedMask.of(second))[0].shape == (3, 4, 5)
    empty = CroppedMask.of(np.zeros((9, 9, 9), bool))
    assert common_crops(empty, CroppedMask.of(second))[0].shape == (1, 1, 1)
    assert common_crops(empty, empty)[0].size == 0


def test_masks_of_different_grids_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(2, 2, 2\) and \(3, 2, 2\)"):
        common_crops(*(CroppedMask.of(np.ones((n, 2, 2))) for n in (2, 3)))

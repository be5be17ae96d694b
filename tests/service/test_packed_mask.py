import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medvol_r1.service.packed_mask import PackedMask


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.booleans()))
def test_a_mask_comes_back_as_it_was(mask):
    full = PackedMask.of(mask).full()
    assert full.dtype == bool and np.array_equal(full, mask)


def test_slice_ranges_are_those_of_the_foreground():
    mask = np.zeros((9, 8, 7), bool)
    mask[2:5, 3, 1:7] = True
    assert PackedMask.of(mask).slice_ranges() == ((2, 4), (3, 3), (1, 6))
    assert PackedMask.of(np.zeros((4, 4, 4))).slice_ranges() is None


def test_an_organ_takes_little():
    x, y, z = np.ogrid[-64:64, -64:64, -64:64]
    ball = x**2 + y**2 + z**2 < 40**2  # 268,000 voxels
    assert len(PackedMask.of(ball).bits) < 0.1 * ball.sum()


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1)])
def test_full_masks_come_back(shape):
    assert PackedMask.of(np.ones(shape)).full().all()

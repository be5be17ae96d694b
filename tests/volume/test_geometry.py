"""Which slices are shown, and the way back between and in them, in numbers that can be checked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.volume.geometry import SliceGeometry, restore_map, restore_mask, uniform_slice_index


@pytest.mark.parametrize(
    ("num_total", "num_shown", "expected"),
    [
        (10, 3, [0, 4, 9]),  # 0, 4.5 (half to even), 9
        (10, 4, [0, 3, 6, 9]),
        (11, 3, [0, 5, 10]),
        (8, 5, [0, 2, 4, 5, 7]),  # 0, 1.75, 3.5 (half to even), 5.25, 7
        (3, 3, [0, 1, 2]),
        (3, 64, [0, 1, 2]),  # fewer than wanted: all
        (1, 64, [0]),
        (2, 2, [0, 1]),
        (9, 1, [4]),  # one slice: the middle
        (1000, 2, [0, 999]),
    ],
)
def test_slice_index_golden(num_total, num_shown, expected):
    index = uniform_slice_index(num_total, num_shown)
    assert index.dtype == np.int64 and index.tolist() == expected


@given(st.integers(2, 1500), st.integers(2, 200))
@settings(max_examples=200, deadline=None)
def test_slice_index_properties(num_total, num_shown):
    index = uniform_slice_index(num_total, num_shown)
    steps = np.diff(index)
    assert len(index) == min(num_total, num_shown) and index[0] == 0 and index[-1] == num_total - 1
    assert steps.min() >= 1 and steps.max() - steps.min() <= 2  # each end is rounded by at most a half


@pytest.mark.parametrize(("num_total", "num_shown"), [(0, 4), (4, 0), (4, -1)])
def test_slice_index_bad(num_total, num_shown):
    with pytest.raises(
        ValueError, match=f"num_slices: {num_shown} slices of {num_total} were asked for; both must be at"
    ):
        uniform_slice_index(num_total, num_shown)


def geometry_of_slices(num_slices: int, source_index, rows=1, columns=1) -> SliceGeometry:
    return SliceGeometry(
        (columns, rows, num_slices),
        np.diag([-0.7, -1.1, 3.0, 1.0]),
        np.array([[0, 1], [1, 1], [2, 1]]),
        np.array(source_index),
    )


@pytest.mark.parametrize(
    ("source_index", "values", "expected"),
    [
        # 0, 1/3, 2/3, 1: the half nearer to the marked slice is marked
        ([0, 3], [0, 1], [0, 0, 1, 1]),
        # 0.9, 0.7, 0.5, 0.3, 0.1: above 0.5 only
        ([0, 4], [0.9, 0.1], [1, 1, 0, 0, 0]),
        # 0, 1/2 (not above), 1, 2/3, 1/3, 0
        ([0, 2, 5], [0, 1, 0], [0, 0, 1, 1, 0, 0]),
        # nothing was seen below slice 1 and above slice 3
        ([1, 3], [1, 1], [0, 1, 1, 1, 0]),
        ([2], [1], [0, 0, 1, 0, 0]),
    ],
)
def test_between_slices_golden(source_index, values, expected):
    geometry = geometry_of_slices(len(expected), source_index)
    restored = restore_mask(torch.tensor(values, dtype=torch.float32)[:, None, None], geometry)
    assert restored[0, 0].tolist() == expected and restored.dtype == np.uint8


def test_a_map_is_the_mask_before_its_threshold():
    # Between the shown slices 0 and 3: 0.25, (2 * 0.25 + 1) / 3, (0.25 + 2 * 1) / 3, 1; slice 4 was not seen.
    geometry = geometry_of_slices(5, [0, 3])
    values = torch.tensor([0.25, 1.0])[:, None, None]
    restored = restore_map(values, geometry)
    np.testing.assert_allclose(restored[0, 0], [0.25, 0.5, 0.75, 1, 0], rtol=1e-6)
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restore_mask(values, geometry), restored > 0.5)


def test_in_plane_golden():
    # 2 columns to 4: centres at -0.25, 0.25, 0.75, 1.25 of 2, so 0.9 (edge), 0.7, 0.3, 0.1 (edge)
    geometry = geometry_of_slices(1, [0], rows=1, columns=4)
    assert restore_mask(np.array([[[0.9, 0.1]]]), geometry)[:, 0, 0].tolist() == [1, 1, 0, 0]
    assert restore_mask(np.array([[[0.9, 0.5]]]), geometry)[:, 0, 0].tolist() == [1, 1, 1, 0]  # 0.6 at 0.75


def test_restoring_in_pieces_equals_one_piece(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(23, 9, 7, generator=generator)
    geometry = geometry_of_slices(101, uniform_slice_index(101, 23), rows=12, columns=10)
    in_pieces = restore_mask(probability, geometry)
    monkeypatch.setattr("medvol_r1.volume.geometry._SLICES_AT_A_TIME", 1000)
    np.testing.assert_array_equal(in_pieces, restore_mask(probability, geometry))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_masks_of_any_type(dtype):
    mask = torch.eye(4)[None].to(dtype)
    restored = restore_mask(mask, geometry_of_slices(1, [0], rows=4, columns=4))
    np.testing.assert_array_equal(restored[..., 0], np.eye(4))


def test_restoring_the_wrong_number_of_slices():
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\) cannot be restored; \[S=2, H, W\] is expected"):
        restore_mask(torch.ones(3, 2, 2), geometry_of_slices(4, [0, 3]))

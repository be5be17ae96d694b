"""Boxes of components, and Top-K visibility sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.targets import components_to_boxes, inner_points, sft_anchor


def _slice(*boxes: tuple[int, int, int, int], height: int = 40, width: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def test_boxes_are_half_open_and_x_runs_along_the_columns():
    assert components_to_boxes(_slice((50, 3, 58, 10))) == [(50, 3, 58, 10)]


def test_one_pixel_is_a_box_of_one_pixel():
    assert components_to_boxes(_slice((7, 9, 8, 10))) == [(7, 9, 8, 10)]


def test_boxes_go_from_left_to_right_then_from_top_to_bottom():
    boxes = [(5, 20, 10, 25), (30, 2, 36, 8), (5, 2, 10, 8)]
    assert components_to_boxes(_slice(*boxes)) == [(5, 2, 10, 8), (5, 20, 10, 25), (30, 2, 36, 8)]


def test_a_diagonal_touch_connects():
    # corners meet at (10, 10): one component of 8-connectivity, two of 4-connectivity
    assert components_to_boxes(_slice((5, 5, 10, 10), (10, 10, 15, 15))) == [(5, 5, 15, 15)]


def test_specks_are_dropped_by_their_share_of_the_largest():
    # areas 100, 5 and 4; 5 % of 100 is 5: the second stays, the third goes
    mask = _slice((0, 0, 10, 10), (20, 0, 25, 1), (30, 0, 34, 1))
    assert components_to_boxes(mask) == [(0, 0, 10, 10), (20, 0, 25, 1)]
    assert len(components_to_boxes(mask, min_fraction=0.0)) == 3


def test_the_largest_components_are_kept():
    boxes = [(6 * i, 0, 6 * i + 4, 4 + i) for i in range(5)]  # areas 16, 20, 24, 28, 32
    assert components_to_boxes(_slice(*boxes), max_boxes=2) == boxes[3:]


def test_an_empty_slice_has_no_boxes():
    assert components_to_boxes(_slice()) == []


@pytest.mark.parametrize("arguments", [{"max_boxes": 0}, {"min_fraction": 1.5}])
def test_illegal_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="max_boxes must be >= 1 and min_fraction in 0..1"):
        components_to_boxes(_slice((0, 0, 1, 1)), **arguments)


@settings(max_examples=50)
@given(arrays(bool, (9, 11)))
def test_all_boxes_together_cover_the_mask_and_are_tight(mask):
    covered = np.zeros_like(mask)
    for x1, y1, x2, y2 in components_to_boxes(mask, max_boxes=99, min_fraction=0.0):
        window = mask[y1:y2, x1:x2]
        assert window[0].any() and window[-1].any() and window[:, 0].any() and window[:, -1].any()
        covered[y1:y2, x1:x2] = True
    assert not (mask & ~covered).any()


def test_an_empty_mask_is_not_present():
    assert sft_anchor(np.zeros((3, 8, 8), dtype=bool), np.random.default_rng(0)) == EvidenceAnchor(0, ())


def test_the_key_slice_is_one_of_the_top_k_all_alike():
    areas = [1, 9, 2, 8, 3, 7, 0, 6]  # the four largest: slices 1, 3, 5, 7
    mask = np.zeros((8, 16, 16), dtype=bool)
    for s, area in enumerate(areas):
        mask[s, 0, :area] = True
    rng = np.random.default_rng(0)
    drawn = np.bincount([sft_anchor(mask, rng).key_index for _ in range(400)], minlength=8)
    assert drawn[[0, 2, 4, 6]].sum() == 0
    assert (drawn[[1, 3, 5, 7]] > 70).all()  # 100 expected, standard deviation 8.7
    assert {sft_anchor(mask, rng, top_k=1).key_index for _ in range(20)} == {1}


def test_inner_points_golden():
    # Columns 10..29, rows 5..11: in each half of the longer axis the deepest pixels are on row 8, the middle one of 7;
    # of columns 10..19 the first that is 4 pixels deep is 13, of 20..29 it is 20. A pixel's centre is at + 0.5.
    bar = _slice((10, 5, 30, 12))
    np.testing.assert_array_equal(sorted(inner_points(bar).tolist()), [[13.5, 8.5], [20.5, 8.5]])
    np.testing.assert_array_equal(sorted(inner_points(bar.T).tolist()), [[8.5, 13.5], [8.5, 20.5]])
    np.testing.assert_array_equal(inner_points(_slice((7, 9, 8, 10)), count=3), [[7.5, 9.5]] * 3)  # one pixel
    # A ring has no middle: its points are on it.
    ring = _slice((10, 5, 30, 25)) & ~_slice((14, 9, 26, 21))
    assert all(ring[int(y), int(x)] for x, y in inner_points(ring, count=4))


@settings(max_examples=50)
@given(arrays(bool, (12, 15)).filter(np.any))
def test_inner_points_lie_on_the_component(mask):
    points = inner_points(mask, count=3)
    assert points.shape == (3, 2) and all(mask[int(y), int(x)] for x, y in points)


@pytest.mark.parametrize(("mask", "count"), [(np.zeros((3, 4)), 2), (np.ones((3, 4)), 0), (np.ones((2, 3, 4)), 1)])
def test_nothing_has_no_inner_points(mask, count):
    with pytest.raises(ValueError, match="inner_points wants a component .* and 1 point or more"):
        inner_points(mask, count)


def test_points_of_a_training_anchor_lie_in_their_boxes_and_change_no_draw():
    mask = np.zeros((4, 40, 80), dtype=bool)
    mask[1:4, 10:20, 20:60] = mask[2:4, 25:35, 5:15] = True
    for seed in range(5):
        plain = sft_anchor(mask, np.random.default_rng(seed))
        pointed = sft_anchor(mask, np.random.default_rng(seed), points_per_box=2)
        assert (pointed.key_index, pointed.boxes_xyxy_1000) == (plain.key_index, plain.boxes_xyxy_1000)
        assert [len(points) for points in pointed.points_xy_1000] == [2] * len(plain.boxes_xyxy_1000)
        for (x1, y1, x2, y2), points in zip(pointed.boxes_xyxy_1000, pointed.points_xy_1000, strict=True):
            assert all(x1 < x < x2 and y1 < y < y2 for x, y in points)
    assert sft_anchor(np.zeros_like(mask), np.random.default_rng(0), points_per_box=2).is_absent


def test_slices_without_target_are_never_drawn():
    mask = np.zeros((8, 16, 16), dtype=bool)
    mask[5, 4:8, 4:8] = True  # one slice only, though top_k is 4
    anchors = {sft_anchor(mask, np.random.default_rng(seed)) for seed in range(20)}
    # 4 / 16 = .25 and 8 / 16 = .5 of the slice
    assert anchors == {EvidenceAnchor(5, ((250, 250, 500, 500),))}


def test_the_frame_is_scaled_by_height_and_width_apart():
    mask = np.zeros((1, 40, 80), dtype=bool)
    mask[0, 10:20, 20:60] = True
    # x: 20/80, 60/80; y: 10/40, 20/40
    assert sft_anchor(mask, np.random.default_rng(0)).boxes_xyxy_1000 == ((250, 250, 750, 500),)


def test_the_same_generator_state_draws_the_same_anchor():
    mask = np.random.default_rng(1).random((6, 20, 20)) < 0.3
    assert sft_anchor(mask, np.random.default_rng(7)) == sft_anchor(mask, np.random.default_rng(7))


def test_wrong_ranks_and_top_k_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"\[S, H, W\]"):
        sft_anchor(np.zeros((8, 8), dtype=bool), rng)
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        components_to_boxes(np.zeros((2, 8, 8), dtype=bool))
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        sft_anchor(np.zeros((2, 8, 8), dtype=bool), rng, top_k=0)

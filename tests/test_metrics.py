"""Golden values with their arithmetic, and properties, of the metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from medvol_r1.metrics import axial_visibility, dice, iou, match_boxes, matched_box_iou

EMPTY_BOXES = np.empty((0, 4))


def _volume(*areas: int) -> np.ndarray:
    """[S, 4, 4] with `areas[s]` foreground pixels on slice s."""
    mask = np.zeros((len(areas), 16), dtype=bool)
    for s, area in enumerate(areas):
        mask[s, :area] = True
    return mask.reshape(-1, 4, 4)


@pytest.mark.parametrize(
    ("areas", "key_index", "expected"),
    [
        ((0, 2, 8, 4), 2, 1.0),  # 8 / 8
        ((0, 2, 8, 4), 1, 0.25),  # 2 / 8
        ((0, 2, 8, 4), 0, 0.0),  # nothing on the key slice
        ((3, 0, 0, 0, 0, 0, 0, 12), 0, 0.25),  # 3 / 12: the maximum is global, far slices count (a local one gives 1)
        ((0, 0, 0), 1, 0.0),  # empty mask
    ],
)
def test_axial_visibility_golden(areas, key_index, expected):
    assert axial_visibility(_volume(*areas), key_index) == expected


@pytest.mark.parametrize("key_index", [-1, 3])
def test_axial_visibility_refuses_a_slice_outside(key_index):
    with pytest.raises(IndexError, match=f"key_index {key_index} is outside the 3 slices"):
        axial_visibility(_volume(1, 2, 3), key_index)


def test_axial_visibility_refuses_a_slice_alone():
    with pytest.raises(ValueError, match=r"\[S, H, W\], got the shape \(4, 4\)"):
        axial_visibility(np.ones((4, 4), dtype=bool), 0)


@pytest.mark.parametrize(
    ("pred", "true", "expected"),
    [
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], 1.0),
        ([[0, 0, 10, 10]], [[5, 0, 15, 10]], 1 / 3),  # 5*10 / (100 + 100 - 50)
        ([[0, 0, 10, 10]], [[20, 20, 30, 30]], 0.0),
        # one right box of two wanted: (1 + 0) / max(1, 2)
        ([[0, 0, 10, 10]], [[0, 0, 10, 10], [20, 20, 30, 30]], 0.5),
        # a right box and three spurious ones: 1 / max(4, 1)
        ([[0, 0, 10, 10], [1, 1, 2, 2], [3, 3, 4, 4], [5, 5, 6, 6]], [[0, 0, 10, 10]], 0.25),
        # swapped order, one half as wide: (1 + 50/100) / 2
        ([[20, 20, 30, 30], [0, 0, 5, 10]], [[0, 0, 10, 10], [20, 20, 30, 30]], 0.75),
        # Strips A=[4,14), B=[10,20) against A'=[6,16), B'=[0,10): AA' 8/12, BB' 0/20, AB' 6/14, BA' 6/14. Greedy takes
        # AA' first, 8/12 + 0 = .67; the optimum crosses, 6/14 + 6/14 = .86, over max(2, 2).
        ([[4, 0, 14, 1], [10, 0, 20, 1]], [[6, 0, 16, 1], [0, 0, 10, 1]], 6 / 14),
        (EMPTY_BOXES, [[0, 0, 10, 10]], 0.0),
        ([[0, 0, 10, 10]], [], 0.0),
        ([], EMPTY_BOXES, 0.0),  # off-target slice and no box: nothing was found, nothing is paid
    ],
)
def test_matched_box_iou_golden(pred, true, expected):
    assert matched_box_iou(pred, true) == pytest.approx(expected, abs=1e-6)


def test_match_boxes_names_the_pairs():
    pred = [[20, 20, 30, 30], [0, 0, 5, 10], [50, 50, 60, 60]]
    true = [[0, 0, 10, 10], [20, 20, 30, 30]]
    pred_index, true_index, ious = match_boxes(pred, true)
    assert {(int(p), int(t)): round(float(v), 6) for p, t, v in zip(pred_index, true_index, ious, strict=True)} == {
        (0, 1): 1.0,
        (1, 0): 0.5,
    }


@pytest.mark.parametrize(
    "boxes",
    [
        [[10, 0, 0, 10]],  # inverted
        [[0, 0, 0, 0]],  # the sentinel of an empty frame must not earn anything
        [[0, 0, 10, float("nan")]],
        [[0, 0, 10]],
        [0, 0, 10, 10],
    ],
)
@pytest.mark.parametrize("side", ["pred_boxes", "true_boxes"])
def test_bad_boxes_are_refused_by_name(boxes, side):
    good = [[0, 0, 10, 10]]
    with pytest.raises(ValueError, match=side):
        matched_box_iou(*((boxes, good) if side == "pred_boxes" else (good, boxes)))


_box = st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(1, 100), st.integers(1, 100)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
_some_boxes = st.lists(_box, min_size=1, max_size=6)


@given(_some_boxes, _some_boxes, st.randoms(use_true_random=False))
def test_matched_box_iou_is_bounded_symmetric_and_blind_to_order(pred, true, random):
    value = matched_box_iou(pred, true)
    shuffled = random.sample(pred, len(pred))
    assert 0.0 <= value <= min(len(pred), len(true)) / max(len(pred), len(true)) + 1e-6
    assert matched_box_iou(true, pred) == pytest.approx(value, abs=1e-6)
    assert matched_box_iou(shuffled, true) == pytest.approx(value, abs=1e-6)


@given(_some_boxes)
def test_boxes_against_themselves_score_one(boxes):
    assert matched_box_iou(boxes, boxes) == pytest.approx(1.0, abs=1e-6)


@given(_some_boxes, _some_boxes, _box)
def test_a_spurious_box_beyond_the_true_count_never_pays(pred, true, extra):
    if len(pred) >= len(true):
        # One more box may match better, so compare with the best it could add: 1 / (N + 1) of the new mean.
        grown = matched_box_iou([*pred, extra], true) * (len(pred) + 1)
        assert grown <= matched_box_iou(pred, true) * len(pred) + 1.0 + 1e-6


@pytest.mark.parametrize(
    ("pred", "true", "expected_dice", "expected_iou"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0, 1.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5, 1 / 3),  # 2*1 / (2+2); 1 / 3
        ([1, 1, 1, 1], [1, 0, 0, 0], 0.4, 0.25),  # 2*1 / (4+1); 1 / 4
        ([1, 0, 0, 0], [0, 0, 0, 1], 0.0, 0.0),
        ([0, 0, 0, 0], [1, 0, 0, 0], 0.0, 0.0),  # a failed parse: no mask where there is a target
        ([1, 0, 0, 0], [0, 0, 0, 0], 0.0, 0.0),  # a mask where the target is absent
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0, 1.0),  # absent, and said so
    ],
)
@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2), (1, 1, 2, 2)])
def test_dice_and_iou_golden(pred, true, expected_dice, expected_iou, shape):
    pred, true = np.array(pred, dtype=bool).reshape(shape), np.array(true, dtype=bool).reshape(shape)
    assert dice(pred, true) == pytest.approx(expected_dice, abs=1e-7)
    assert iou(pred, true) == pytest.approx(expected_iou, abs=1e-7)


@given(arrays(bool, (2, 3, 4)), arrays(bool, (2, 3, 4)))
def test_iou_follows_from_dice_and_both_are_bounded(pred, true):
    value = dice(pred, true)
    assert 0.0 <= value <= 1.0
    assert iou(pred, true) == pytest.approx(value / (2 - value), abs=1e-6)
    assert dice(true, pred) == pytest.approx(value, abs=1e-6)


def test_masks_of_unlike_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\), the true one \(2, 3\)"):
        dice(np.ones((2, 2), dtype=bool), np.ones((2, 3), dtype=bool))

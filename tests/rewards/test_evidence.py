"""R_f, R_a and R_s: golden values with their arithmetic, and the pitfalls of this family of rewards."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.anchor import format_completion
from medvol_r1.rewards import AxialReward, FormatReward, SpatialReward, evidence
from medvol_r1.targets import sft_anchor
from reward_cases import FAR, NOWHERE, ON_A, ON_B, SHAPE, A, B, answer, one, pointed, raw, terms_of


def test_examples_of_the_docstrings():
    result = doctest.testmod(evidence)
    assert result.attempted >= 9 and result.failed == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (answer(6, A, B), 1.0),
        (answer(12, FAR), 1.0),  # only the form counts
        (answer(1), 1.0),  # "not present" is a valid answer
        (raw('[{"slice": 6, "bbox_2d_list": [[200, 200, 400, 400]]}]'), 1.0),  # the form of the authors' release
        (raw('{"key_slice": 13, "bbox_2d_list": []}'), 0.0),  # 12 slices are shown
        (raw('{"key_slice": 0, "bbox_2d_list": []}'), 0.0),
        ("The liver is on slice 6.", 0.0),
        ("", 0.0),
    ],
)
def test_format_golden(text, expected):
    assert one(FormatReward(), text) == expected


@pytest.mark.parametrize(
    ("key_slice", "expected"),
    [(6, 1.0), (4, 0.5), (9, 0.5), (3, 0.0), (12, 0.0)],  # 64 / 64, A alone 32 / 64, beside the target 0
)
def test_axial_golden(key_slice, expected):
    assert one(AxialReward(), answer(key_slice, FAR)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (answer(6, A, B), 1.0),
        (answer(6, B, A), 1.0),
        (answer(6, A), 0.5),  # 1 / max(1, 2)
        (answer(6, A, B, FAR), 2 / 3),  # 2 / max(3, 2)
        (answer(6, (200, 200, 300, 400), B), 0.75),  # (16/32 + 1) / 2
        (answer(4, A), 1.0),  # slice 4 shows A alone
        (answer(4, A, B), 0.5),  # so B is spurious there
        (answer(6, A, A), 0.5),  # the second A can only be given B, IoU 0
        (answer(3, A), 0.0),  # no target there
    ],
)
def test_spatial_golden(text, expected):
    assert one(SpatialReward(), text) == pytest.approx(expected, abs=1e-6)


def test_pitfall_2_no_sentinel_box_on_an_empty_slice():
    assert terms_of(raw('{"key_slice": 1, "bbox_2d_list": [[0, 0, 0, 0]]}')) == dict.fromkeys(
        ("R_f", "R_a", "R_s", "R_c"), 0.0
    )
    smallest = terms_of(answer(1, (0, 0, 1, 1)))  # slice 1 shows nothing
    assert smallest == {"R_f": 1.0, "R_a": 0.0, "R_s": 0.0, "R_c": 0.0}


def test_pitfall_3_the_maximum_of_r_a_is_global():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1, 0, :4] = True  # a bump, more than 5 slices away from
    mask[11, 0, :16] = True  # the maximum
    assert one(AxialReward(), answer(2, A), mask) == 0.25


def test_pitfall_3_r_s_compares_with_the_boxes_of_the_predicted_slice():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5, 0:10, 0:20] = True  # the best slice
    mask[7, 12:16, 24:32] = True  # another, where the target is elsewhere: B
    assert one(SpatialReward(), answer(8, B), mask) == pytest.approx(1.0, abs=1e-6)
    assert one(SpatialReward(), answer(6, B), mask) == 0.0


@pytest.mark.parametrize("extra", [1, 3, 14])
def test_pitfall_7_spurious_boxes_cost(extra):
    spurious = [(0, 40 * i, 20, 40 * i + 20) for i in range(extra)]
    values = terms_of(answer(6, A, B, *spurious))
    assert values["R_s"] == pytest.approx(2 / (2 + extra), abs=1e-6)
    assert values["R_c"] == terms_of(answer(6, A, B))["R_c"]  # they do not prompt


def test_points_are_an_answer_only_where_they_are_asked_for():
    text = pointed(6, [A, B], [ON_A, ()])
    assert one(FormatReward(), text) == 0 and one(FormatReward("boxes_and_points"), text) == 1
    plain = answer(6, A, B)
    for reward in (FormatReward, AxialReward, SpatialReward):
        assert one(reward("boxes_and_points"), plain) == one(reward(), plain) == 1
        assert one(reward("boxes_and_points"), text) == 1 and one(reward(), text) == 0


def test_points_beside_a_box_do_not_change_its_iou_and_points_alone_have_none():
    reward = SpatialReward("boxes_and_points")
    assert one(reward, pointed(6, [A], [NOWHERE])) == one(SpatialReward(), answer(6, A)) == 0.5
    assert one(reward, pointed(6, [], [ON_A, ON_B])) == 0
    assert one(AxialReward("boxes_and_points"), pointed(4, [], [ON_A])) == 0.5  # A alone is half of slice 6


def one_without_slices(reward, text, mask):
    return reward(completions=[text], masks=[mask])[0]


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_the_answers_that_sft_teaches_are_right(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((4, 20, 40), dtype=bool)
    for _ in range(3):
        s, y, x = rng.integers(0, (4, 16, 36))
        mask[s, y : y + 4, x : x + 4] = True
    text = format_completion(sft_anchor(mask, rng))
    assert one_without_slices(FormatReward(), text, mask) == 1.0
    assert one_without_slices(AxialReward(), text, mask) > 0.0
    assert one_without_slices(SpatialReward(), text, mask) == pytest.approx(1.0, abs=1e-5)

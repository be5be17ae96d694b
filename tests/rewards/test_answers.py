"""What completions answer; what is decided by whether the target is there."""

import pytest
from medvol_r1.anchor import parse_completion
from medvol_r1.rewards import ConsistencyReward
from reward_cases import EMPTY, SHAPE, SLICES, TARGET, A, B, Repeat, all_four, answer, one, raw, terms_of

GOOD = '{"key_slice": 6, "bbox_2d_list": [[200, 200, 400, 400]]}'


def failure_of(text):
    """Why a completion does not parse."""
    return parse_completion(text, num_slices=SHAPE[0]).reason


@pytest.mark.parametrize(
    ("text", "mask", "expected"),
    [
        (answer(1), EMPTY, 1.0),  # rightly "not present"
        (answer(12), EMPTY, 1.0),  # on whatever slice
        (answer(6, A), EMPTY, 0.0),
        (answer(6), TARGET, 0.0),  # wrongly "not present", even on the best slice
        ("not there", EMPTY, 0.0),
    ],
)
def test_absent_targets(text, mask, expected):
    values = terms_of(text, mask)
    assert [values[name] for name in ("R_a", "R_s", "R_c")] == [expected] * 3


def test_a_target_between_the_shown_slices_counts_as_absent():
    reward = all_four()
    shown = TARGET[[0, 1, 2, 9, 10, 11]]  # the target is on 3..8
    slices = SLICES[:6]
    assert reward(completions=[answer(1), answer(2, A)], masks=[shown] * 2, slices=[slices] * 2) == [4.0, 1.0]


@pytest.mark.parametrize(
    ("json_text", "reason"),
    [
        ('{"key_slice": NaN, "bbox_2d_list": [[200, 200, 400, 400]]}', "invalid_json"),
        ('{"key_slice": 6, "bbox_2d_list": [[200, 200, Infinity, 400]]}', "invalid_json"),
        ('{"key_slice": true, "bbox_2d_list": [[200, 200, 400, 400]]}', "key_slice_not_integer"),
        ('{"key_slice": 6, "bbox_2d_list": [[false, 200, 400, 400]]}', "box_not_four_integers"),
        ('{"key_slice": 6, "bbox_2d_list": [[400, 400, 200, 200]]}', "box_without_area"),
        ('{"key_slice": 6, "bbox_2d_list": [[200, 200, 200, 400]]}', "box_without_area"),
        ('{"key_slice": 6, "bbox_2d_list": [[-1000, -1000, 2000, 2000]]}', "box_out_of_range"),
    ],
)
def test_pitfall_4_values_that_json_lets_pass_earn_nothing(json_text, reason):
    assert one(all_four(), raw(json_text)) == 0.0
    assert failure_of(raw(json_text)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{raw(GOOD)}<answer>{GOOD}</answer>", "repeated_tag"),
        (f"<think>a</think>{raw(GOOD)}", "repeated_tag"),
        (f"<think><answer>{GOOD}</answer></think>", "wrong_order"),
        (f"<answer>{GOOD}</answer><think>a</think>", "wrong_order"),
        (raw(GOOD, think=""), "missing_tag"),
        (raw(GOOD)[:-9], "missing_tag"),  # cut at the token limit
        (f"Sure! {raw(GOOD)}", "text_outside_tags"),
        (f"{raw(GOOD)} Anything else?", "text_outside_tags"),
    ],
)
def test_pitfall_5_exactly_one_block_of_each_in_order(text, reason):
    reward = all_four()
    assert one(reward, raw(GOOD)) > 0.0
    assert one(reward, text) == 0.0
    assert failure_of(text) == reason


def test_pitfall_7_the_number_of_boxes_is_bounded():
    boxes = ", ".join("[200, 200, 400, 400]" for _ in range(17))
    text = raw(f'{{"key_slice": 6, "bbox_2d_list": [{boxes}]}}')
    assert one(all_four(), text) == 0.0
    assert failure_of(text) == "too_many_boxes"


def test_pitfall_13_failures_keep_their_place():
    reward = all_four()
    texts = ["?", answer(6, A, B), raw("{"), "!"]
    totals = reward(completions=texts, masks=[TARGET] * 4, slices=[SLICES] * 4)
    assert [total > 0 for total in totals] == [False, True, False, False]


def test_all_completions_unparsable():
    assert all_four()(completions=["?", "", "<think>"], masks=[TARGET] * 3, slices=[SLICES] * 3) == [0.0] * 3


def test_no_completions():
    assert all_four()(completions=[], masks=[], slices=[]) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"masks": [TARGET] * 2, "slices": [SLICES]}, "1 completions but 2 masks"),
        ({"masks": [TARGET[0]], "slices": [SLICES]}, r"masks\[0\] has the shape \(20, 40\); give \[S, H, W\]"),
        ({"masks": [TARGET[:0]], "slices": [SLICES]}, r"masks\[0\] has the shape \(0, 20, 40\)"),
        ({"masks": [TARGET], "slices": []}, "1 completions but 0 slices"),
        ({"masks": [TARGET], "slices": [SLICES[:5]]}, r"slices\[0\] has the shape \(5, 20, 40\), masks\[0\] \(12, 20"),
        ({"masks": [TARGET], "slices": [SLICES[0]]}, r"slices\[0\] has the shape \(20, 40\)"),
    ],
)
def test_columns_that_do_not_fit(columns, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyReward(propagator=Repeat())(completions=[answer(6, A)], **columns)

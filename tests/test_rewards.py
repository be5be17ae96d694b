"""Golden values with their arithmetic, the pitfalls of this family of rewards, and TRL's contract.

The target lies on slices 3..8 of 12 (0-based): A on all of them, on slice 5 also B. A slice has 20 rows and 40 columns,
so a pixel is 25 units of the text wide and 50 high: A is 8 x 4 pixels, x 200..400 and y 200..400; B has the same size.
"""

import doctest
import math
from random import Random

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from medvol_r1 import rewards
from medvol_r1.anchor import EvidenceAnchor, boxes_1000_to_px, format_completion, parse_completion
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.losses import group_advantages
from medvol_r1.metrics import dice
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import (
    AxialReward,
    CompositeReward,
    ConsistencyReward,
    FormatReward,
    SpatialReward,
    record_of,
)
from medvol_r1.targets import sft_anchor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHAPE = (12, 20, 40)
A, B = (200, 200, 400, 400), (600, 600, 800, 800)
FAR = (0, 0, 100, 100)  # overlaps neither
SLICES = np.ones(SHAPE, dtype=np.float32)
EMPTY = np.zeros(SHAPE, dtype=bool)


def _target():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:9, 4:8, 8:16] = True
    mask[5, 12:16, 24:32] = True
    return mask


TARGET = _target()


class Repeat:
    """A propagator that repeats each box on every slice of the window where the volume is bright; it keeps a log."""

    def __init__(self):
        self.encoded, self.calls = [], []

    def encode(self, slices):
        self.encoded.append(slices)
        return slices

    def mask(self, slices, key_index, boxes_xyxy_px, window=None):
        self.calls.append((key_index, [tuple(box) for box in boxes_xyxy_px.tolist()], window))
        out = np.zeros(np.shape(slices), dtype=bool)
        for x1, y1, x2, y2 in boxes_xyxy_px.astype(int):
            out[max(0, key_index - window) : key_index + window + 1, y1:y2, x1:x2] = True
        return torch.as_tensor(out) & (torch.as_tensor(slices) > 0.5)


def answer(key_slice, *boxes):
    """A completion; the key slice is 1-based."""
    return format_completion(EvidenceAnchor(key_slice - 1, boxes), "Look.")


def raw(json_text, think="<think>Look.</think>"):
    return f"{think}<answer>{json_text}</answer>"


def one(reward, text, mask=TARGET):
    (value,) = reward(completions=[text], masks=[mask], slices=[SLICES])
    assert isinstance(value, float)
    return value


def all_four(delta=5):
    return CompositeReward(
        terms={
            "R_f": FormatReward(),
            "R_a": AxialReward(),
            "R_s": SpatialReward(),
            "R_c": ConsistencyReward(propagator=Repeat(), delta=delta),
        },
        weights=dict.fromkeys(("R_f", "R_a", "R_s", "R_c"), 1.0),
    )


def terms_of(text, mask=TARGET):
    """{R_f, R_a, R_s, R_c} of one completion."""
    record = all_four().record(completions=[text], masks=[mask], slices=[SLICES])
    return {name: value for name, (value,) in record.terms.items()}


def failure_of(text):
    """Why a completion does not parse."""
    return parse_completion(text, num_slices=SHAPE[0]).reason


def test_examples_of_the_docstrings():
    result = doctest.testmod(rewards)
    assert result.attempted >= 20 and result.failed == 0


# Golden values ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("text", "delta", "expected"),
    [
        # The window is slices 3..7; boxes repeated on 5 slices: 5 * 64 = 320. True there: 5 * 32 + 32 = 192, all hit.
        (answer(6, A, B), 2, 2 * 192 / (320 + 192)),
        (answer(6, A), 2, 2 * 160 / (160 + 192)),  # B is missed
        (answer(6, A, B), 0, 1.0),  # the key slice alone
        # The window is cut at the first slice, 0..8: 9 * 32 = 288 against 6 * 32 + 32 = 224, common 6 * 32 = 192.
        (answer(4, A), 5, 2 * 192 / (288 + 224)),
        (answer(6, FAR), 5, 0.0),
        (answer(3, A), 5, 0.0),
    ],
)
def test_consistency_golden(text, delta, expected):
    reward = ConsistencyReward(propagator=Repeat(), delta=delta)
    assert one(reward, text) == pytest.approx(expected, abs=1e-6)


def test_a_pair_without_overlap_does_not_prompt():
    propagator = Repeat()
    reward = ConsistencyReward(propagator=propagator, delta=2)
    # Hungarian gives FAR to B, with IoU 0. Were it a prompt, 5 * 8 more pixels (4 x 2 of FAR) would be wrong.
    assert one(reward, answer(6, A, FAR)) == pytest.approx(2 * 160 / (160 + 192), abs=1e-6)
    assert propagator.calls == [(5, [(8.0, 4.0, 16.0, 8.0)], 2)]


def test_delta_is_the_paper_s_by_default():
    propagator = Repeat()
    one(ConsistencyReward(propagator=propagator), answer(6, A))
    assert [window for _, _, window in propagator.calls] == [5]


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


# The pitfalls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_slice", [1, 3, 10, 12])
def test_pitfall_1_a_slice_off_target_earns_nothing_though_both_masks_are_empty(key_slice):
    reward = ConsistencyReward(propagator=Repeat(), delta=0)
    assert one(reward, answer(key_slice, A)) == 0.0
    assert one(ConsistencyReward(propagator=Repeat(), delta=5), answer(key_slice, A)) == 0.0
    assert one(SpatialReward(), answer(key_slice, A)) == 0.0
    assert one(AxialReward(), answer(key_slice, A)) == 0.0


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


GOOD = '{"key_slice": 6, "bbox_2d_list": [[200, 200, 400, 400]]}'


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


def test_pitfall_6_an_error_is_an_error_and_not_a_reward_of_zero():
    class Broken(Repeat):
        def mask(self, *arguments, **options):
            raise RuntimeError("out of memory")

    reward = CompositeReward(terms={"R_c": ConsistencyReward(propagator=Broken())}, weights={"R_c": 1.0})
    with pytest.raises(RuntimeError, match="out of memory"):
        one(reward, answer(6, A, B))


@pytest.mark.parametrize("extra", [1, 3, 14])
def test_pitfall_7_spurious_boxes_cost(extra):
    spurious = [(0, 40 * i, 20, 40 * i + 20) for i in range(extra)]
    values = terms_of(answer(6, A, B, *spurious))
    assert values["R_s"] == pytest.approx(2 / (2 + extra), abs=1e-6)
    assert values["R_c"] == terms_of(answer(6, A, B))["R_c"]  # they do not prompt


def test_pitfall_7_the_number_of_boxes_is_bounded():
    boxes = ", ".join("[200, 200, 400, 400]" for _ in range(17))
    text = raw(f'{{"key_slice": 6, "bbox_2d_list": [{boxes}]}}')
    assert one(all_four(), text) == 0.0
    assert failure_of(text) == "too_many_boxes"


def test_pitfall_8_a_wrong_answer_earns_its_form_and_no_floor():
    assert terms_of(answer(12, FAR)) == {"R_f": 1.0, "R_a": 0.0, "R_s": 0.0, "R_c": 0.0}  # 1 of 4, not half of it
    assert terms_of("?") == dict.fromkeys(("R_f", "R_a", "R_s", "R_c"), 0.0)


def test_pitfall_13_failures_keep_their_place():
    reward = all_four()
    texts = ["?", answer(6, A, B), raw("{"), "!"]
    totals = reward(completions=texts, masks=[TARGET] * 4, slices=[SLICES] * 4)
    assert [total > 0 for total in totals] == [False, True, False, False]


# Sharing within a call ----------------------------------------------------------------------------------------------


def test_a_volume_is_encoded_once_and_equal_anchors_propagate_once():
    propagator = Repeat()
    reward = ConsistencyReward(propagator=propagator, delta=1)
    other = SLICES.copy()
    other_mask = np.roll(TARGET, 1, axis=0)  # another query of the first volume
    texts = [answer(6, A, B), answer(6, B, A), answer(6, A, B, FAR), answer(6, A), answer(6, A, B), answer(6, A, B)]
    masks = [TARGET, TARGET, TARGET, TARGET, TARGET, other_mask]
    volumes = [SLICES, SLICES, SLICES, SLICES, other, SLICES]
    values = reward(completions=texts, masks=masks, slices=volumes)
    assert [id(volume) for volume in propagator.encoded] == [id(SLICES), id(other)]
    # {A, B}, {A} on the first volume (`other_mask` shows A alone on slice 5, so only A prompts), {A, B} on the second.
    assert [len(boxes) for _, boxes, _ in propagator.calls] == [2, 1, 2]
    alone = [reward([text], [mask], [volume])[0] for text, mask, volume in zip(texts, masks, volumes, strict=True)]
    assert values == alone


def test_nothing_is_remembered_between_calls():
    propagator = Repeat()
    reward = ConsistencyReward(propagator=propagator)
    volume = SLICES.copy()
    before = one_of(reward, volume)
    volume[:3] = 0.0  # nothing propagates there any more
    assert one_of(reward, volume) > before
    assert len(propagator.encoded) == 2


def one_of(reward, volume):
    return reward(completions=[answer(6, A, B)], masks=[TARGET], slices=[volume])[0]


@pytest.mark.parametrize("stack", [torch.from_numpy, np.asarray])
def test_rows_of_a_stack_are_volumes_of_their_own(stack):
    # Looking at a row of an array makes an object whose id is given again as soon as it is gone.
    volumes = np.ones((6, *SHAPE), dtype=np.float32)
    volumes[2:4] = 0.0  # nothing propagates there
    masks = stack(np.stack([TARGET] * 6))
    reward = ConsistencyReward(propagator=Repeat(), delta=2)
    values = reward(completions=[answer(6, A, B)] * 6, masks=masks, slices=stack(volumes))
    assert values == pytest.approx([0.75, 0.75, 0.0, 0.0, 0.75, 0.75], abs=1e-6)


def test_with_medsam2_it_is_the_dice_of_the_window():
    class Counting(SlicePropagator):
        encodings = 0

        def encode(self, slices):
            self.encodings += 1
            return super().encode(slices)

    propagator = Counting(build_tiny_medsam2(image_size=64, seed=3).eval())
    volume = torch.from_numpy(np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    reward = ConsistencyReward(propagator=propagator, delta=2)
    values = reward(completions=[answer(6, A, B), answer(4, A)], masks=[TARGET] * 2, slices=[volume] * 2)
    assert propagator.encodings == 1
    for value, key_index, boxes in zip(values, (5, 3), ([A, B], [A]), strict=True):
        whole = SlicePropagator(propagator.model).mask(volume, key_index, boxes_1000_to_px(boxes, *SHAPE[1:]), window=2)
        window = slice(key_index - 2, key_index + 3)
        assert value == dice(whole.numpy()[window], TARGET[window])


# Points -------------------------------------------------------------------------------------------------------------

ON_A, ON_B, NOWHERE = ((300, 300), (250, 250)), ((700, 700),), ((500, 500), (50, 50))


class RepeatPointed(Repeat):
    """Notes the points of each call as well, and marks the pixel of each point on the key slice."""

    def __init__(self):
        super().__init__()
        self.pointed = []

    def mask(self, slices, key_index, boxes_xyxy_px, window=None, points_xy_px=()):
        self.pointed.append(points_xy_px)
        out = super().mask(slices, key_index, boxes_xyxy_px, window)
        for x, y in (point for of_object in points_xy_px for point in of_object):
            out[key_index, min(int(y), 19), min(int(x), 39)] = True  # far edges are on the last pixel
        return out


def pointed(key_slice, boxes, points):
    anchor = EvidenceAnchor(key_slice - 1, tuple(boxes), tuple(points))
    return format_completion(anchor, "Look.", form="boxes_and_points")


def px(points):
    """In pixels: 40 units a column, 20 rows: x / 25, y / 50."""
    return tuple((x / 25, y / 50) for x, y in points)


def consistency(text, mask=TARGET, delta=1):
    """R_c of an answer with points, and what its propagator was given."""
    propagator = RepeatPointed()
    value = one(ConsistencyReward(propagator=propagator, delta=delta, answer_form="boxes_and_points"), text, mask)
    return value, [call[1] for call in propagator.calls], propagator.pointed


def test_points_are_an_answer_only_where_they_are_asked_for():
    text = pointed(6, [A, B], [ON_A, ()])
    assert one(FormatReward(), text) == 0 and one(FormatReward("boxes_and_points"), text) == 1
    plain = answer(6, A, B)
    for reward in (FormatReward, AxialReward, SpatialReward):
        assert one(reward("boxes_and_points"), plain) == one(reward(), plain) == 1
        assert one(reward("boxes_and_points"), text) == 1 and one(reward(), text) == 0


def test_an_image_is_a_slice_with_one_box_and_two_points():
    text = format_completion(EvidenceAnchor(0, (A,), (ON_A,)), form="image")
    mask, slices = TARGET[3:4], SLICES[3:4]  # A alone
    rewards_of_image = [reward("image") for reward in (FormatReward, AxialReward, SpatialReward)]
    rewards_of_image.append(ConsistencyReward(propagator=RepeatPointed(), answer_form="image"))
    for reward in rewards_of_image:
        assert reward(completions=[text], masks=[mask], slices=[slices]) == [1.0]


def test_points_beside_a_box_do_not_change_its_iou_and_points_alone_have_none():
    reward = SpatialReward("boxes_and_points")
    assert one(reward, pointed(6, [A], [NOWHERE])) == one(SpatialReward(), answer(6, A)) == 0.5
    assert one(reward, pointed(6, [], [ON_A, ON_B])) == 0
    assert one(AxialReward("boxes_and_points"), pointed(4, [], [ON_A])) == 0.5  # A alone is half of slice 6


def test_the_points_of_matched_boxes_are_propagated_with_them():
    # FAR overlaps nothing: its points go as it goes. B has none.
    value, boxes, points = consistency(pointed(6, [FAR, B, A], [ON_B, (), ON_A]))
    assert boxes == [[(8, 4, 16, 8), (24, 12, 32, 16)]] and points == [(px(ON_A), ())]
    # A lies on all three slices of the window, B on slice 6 alone: 2 * 4 / (6 + 4) parts of one size.
    assert value == pytest.approx(0.8)
    turned = consistency(pointed(6, [A, FAR, B], [ON_A, ON_B, ()]))
    assert turned == (value, boxes, points)


def test_points_alone_are_propagated_where_one_lies_on_the_target():
    value, boxes, points = consistency(pointed(6, [], [NOWHERE, ON_B, ON_A, ON_A]), delta=0)
    assert boxes == [[]] and points == [(px(ON_A), px(ON_B))]  # sorted, each once
    assert value == pytest.approx(2 * 3 / (3 + 64))  # three pixels of 2 * 8 * 4
    assert consistency(pointed(6, [], [NOWHERE])) == (0.0, [], [])
    # the far corner of the slice is its last pixel
    corner = np.zeros(SHAPE, bool)
    corner[5, -1, -1] = True
    assert consistency(pointed(6, [], [((1000, 1000),)]), corner)[2] == [(px(((1000, 1000),)),)]


def test_points_on_a_target_that_is_not_there_earn_nothing():
    for text, value in ((pointed(6, [], [ON_A]), 0.0), (pointed(1, [], []), 1.0)):
        rewards_there = [reward("boxes_and_points") for reward in (AxialReward, SpatialReward)]
        assert [one(reward, text, EMPTY) for reward in rewards_there] == [value, value]
        assert consistency(text, EMPTY)[0] == value


def test_points_that_do_not_parse_earn_nothing():
    text = raw('{"key_slice": 6, "bbox_2d_list": [[200, 200, 400, 400]], "point_2d_list": [[[300, 1001]]]}')
    for reward in (FormatReward, AxialReward, SpatialReward):
        assert one(reward("boxes_and_points"), text) == 0
    assert consistency(text) == (0.0, [], [])


# Composite ----------------------------------------------------------------------------------------------------------


def test_composite_is_the_weighted_sum_and_says_what_it_is_made_of():
    reward = CompositeReward(
        terms={"R_f": FormatReward(), "R_a": AxialReward(), "R_s": SpatialReward()},
        weights={"R_s": 2.0, "R_f": 1.0, "R_a": 0.0},
    )
    texts = [answer(6, A), answer(4, A), "?"]
    # 1 * 1 + 0 * 1 + 2 * 1/2; 1 * 1 + 0 * 1/2 + 2 * 1
    columns = {"completions": texts, "masks": [TARGET] * 3, "slices": [SLICES] * 3}
    totals = reward(**columns)
    assert totals == pytest.approx([2.0, 3.0, 0.0], abs=1e-5)
    record = reward.record(**columns)
    assert record.totals == totals and record == record_of(reward, **columns)
    assert record.terms["R_a"] == [1.0, 0.5, 0.0]  # said, though its weight is 0
    assert record.best == 3.0


def test_a_term_that_does_not_apply_is_left_out():
    def short_ones(completions, **columns):
        return [0.5 if len(text) < 3 else None for text in completions]

    both = CompositeReward(terms={"short": short_ones, "R_f": FormatReward()}, weights={"short": 2.0, "R_f": 1.0})
    columns = {"completions": ["?", answer(6, A)], "masks": [TARGET] * 2}
    record = both.record(**columns)  # 2 * 1/2 + 1 * 0, and 1 * 1
    assert record.totals == both(**columns) == [1.0, 1.0]
    assert record.terms == {"short": [0.5, None], "R_f": [0.0, 1.0]}
    alone = CompositeReward(terms={"short": short_ones}, weights={"short": 2.0})
    assert alone(**columns) == [1.0, None]


def test_a_plain_function_is_a_reward():
    def length(completions, **columns):
        return [None if not text else len(text) for text in completions]

    record = record_of(length, ["abc", ""], masks=[TARGET] * 2)
    assert (record.totals, record.terms, record.best) == ([3.0, None], {}, None)

    def broken(completions, **columns):
        return [math.nan]

    with pytest.raises(ValueError, match="The reward 'broken' of completion 0 is nan; .* a finite number, or None"):
        record_of(broken, ["abc"])


def test_the_true_anchor_earns_the_best_value_where_propagation_is_perfect():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 4:8, 8:16] = True
    record = all_four().record(completions=[answer(6, A)], masks=[mask], slices=[SLICES])
    assert record.totals == pytest.approx([record.best], abs=1e-5) and record.best == 4.0


def test_all_completions_unparsable():
    assert all_four()(completions=["?", "", "<think>"], masks=[TARGET] * 3, slices=[SLICES] * 3) == [0.0] * 3


def test_no_completions():
    assert all_four()(completions=[], masks=[], slices=[]) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_named(value):
    def odd(completions, **columns):
        return [0.5, value]

    reward = CompositeReward(terms={"R_f": FormatReward(), "R_odd": odd}, weights={"R_f": 1.0, "R_odd": 1.0})
    with pytest.raises(ValueError, match=f"'R_odd' of completion 1 is {value}; it must be a finite number"):
        reward(completions=["?", "?"], masks=[TARGET] * 2)


def test_a_reward_that_drops_completions_is_named():
    reward = CompositeReward(terms={"R_odd": lambda completions, **columns: [1.0]}, weights={"R_odd": 1.0})
    with pytest.raises(ValueError, match="'R_odd' gave 1 values for 2 completions"):
        reward(completions=["?", "?"], masks=[TARGET] * 2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"R_a": 1.0}, r"`terms` has \['R_f'\], `weights` has \['R_a'\]"),
        ({"R_f": -1.0}, "finite numbers >= 0"),
        ({"R_f": math.nan}, "finite numbers >= 0"),
        ({"R_f": 0.0}, "one of them above 0"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        CompositeReward(terms={"R_f": FormatReward()}, weights=weights)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [-1, 2.5, True, None])
def test_bad_delta(delta):
    with pytest.raises(ValueError, match=f"delta is {delta}; give the slices to each side"):
        ConsistencyReward(propagator=Repeat(), delta=delta)


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


def test_slices_out_of_range_are_the_propagator_s_error():
    reward = ConsistencyReward(propagator=SlicePropagator(build_tiny_medsam2(image_size=64, seed=3)))
    with pytest.raises(ValueError, match=r"slices range over -1000\.\.1000"):
        reward(completions=[answer(6, A)], masks=[TARGET], slices=[np.linspace(-1000, 1000, 9600).reshape(SHAPE)])


# Properties ---------------------------------------------------------------------------------------------------------

edges = st.tuples(st.integers(0, 999), st.integers(1, 400)).map(lambda low: (low[0], min(1000, sum(low))))
boxes = st.tuples(edges, edges).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))


@settings(max_examples=40)
@given(st.integers(1, 12), st.lists(boxes, max_size=6), st.randoms(use_true_random=False))
@example(4, [(0, 0, 1, 1), (11, 220, 225, 238), (11, 332, 225, 350)], Random(1))  # two boxes of one IoU
def test_every_term_is_in_0_to_1_and_the_order_of_boxes_does_not_count(key_slice, some, random):
    values = terms_of(answer(key_slice, *some))
    assert all(0.0 <= value <= 1.0 for value in values.values())
    shuffled = random.sample(some, len(some))
    assert terms_of(answer(key_slice, *shuffled)) == pytest.approx(values, abs=1e-6)


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


def one_without_slices(reward, text, mask):
    return reward(completions=[text], masks=[mask])[0]


# TRL's contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        [{"role": "assistant", "content": answer(6, A)}],
        [{"role": "assistant", "content": [{"type": "text", "text": answer(6, A)}]}],
    ],
)
def test_a_text_may_come_as_a_message(wrapped):
    assert one(all_four(), wrapped) == one(all_four(), answer(6, A)) > 2.0


@pytest.mark.parametrize(
    "odd",
    [None, 3, [], [{}], [{"role": "assistant"}], [{"role": "assistant", "content": None}], [answer(6, A)]]
    + [[{"role": "assistant", "content": answer(6, A)}] * 2],
)
def test_what_is_neither_a_text_nor_one_message_is_a_failure(odd):
    assert one(all_four(), odd) == 0.0


def test_columns_that_a_reward_does_not_read_are_ignored():
    columns = {"prompts": ["?"], "completion_ids": [[1, 2]], "target": ["liver"], "trainer_state": object()}
    text, mask = [answer(6, A, B)], [TARGET]
    assert all_four()(completions=text, masks=mask, slices=[SLICES], **columns) == pytest.approx(
        all_four()(completions=text, masks=mask, slices=[SLICES])
    )


def test_masks_and_slices_may_be_lists_as_a_data_set_of_hugging_face_gives_them():
    text = [answer(6, A, B)]
    propagator = SlicePropagator(build_tiny_medsam2(64, seed=3).eval())
    reward = CompositeReward(
        terms={"R_s": SpatialReward(), "R_c": ConsistencyReward(propagator)}, weights={"R_s": 1.0, "R_c": 1.0}
    )
    as_arrays = reward(completions=text, masks=[TARGET], slices=[SLICES * 0.5])
    assert reward(completions=text, masks=[TARGET.tolist()], slices=[(SLICES * 0.5).tolist()]) == as_arrays


def byte_tokenizer():
    """A token a byte. TRL decodes without special tokens, so the four tags must not be such."""
    alphabet = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_they_run_inside_trl_s_trainer(tmp_path):
    """One step of GRPOTrainer on a tiny text model whose rollouts are written here."""
    trl = pytest.importorskip("trl")
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    texts = [answer(6, A, B), answer(4, A), answer(12, FAR), "<think>The liver."]

    def rollout(prompts, trainer):
        ids = [tokenizer(text).input_ids + [tokenizer.eos_token_id] for text in texts]
        return {"prompt_ids": [tokenizer("the liver").input_ids] * 4, "completion_ids": ids, "logprobs": None}

    columns = {"masks": [TARGET.astype(int).tolist()], "slices": [SLICES.tolist()], "target": ["liver"]}
    prompt = [[{"role": "user", "content": "the liver"}]]
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=[all_four(delta=2), FormatReward(), SpatialReward()],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), max_steps=1, num_generations=4, per_device_train_batch_size=4,
            max_completion_length=128, reward_weights=[1.0, 0.0, 0.0], loss_type="grpo", report_to="none",
            use_cpu=True, bf16=False, disable_tqdm=True, log_completions=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompt, **columns}),
        processing_class=tokenizer,
        rollout_func=rollout,
    )  # fmt: skip
    trainer.train()
    seen = {name: list(values) for name, values in trainer._logs["rewards"].items()}
    expected = all_four(delta=2)(completions=texts, masks=[TARGET] * 4, slices=[SLICES] * 4)
    assert seen["CompositeReward"] == pytest.approx(expected, abs=1e-6)
    assert seen["FormatReward"] == [1.0, 1.0, 1.0, 0.0]
    assert seen["SpatialReward"] == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-6)
    advantages = group_advantages(torch.tensor(expected)).tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx(advantages, abs=1e-5)

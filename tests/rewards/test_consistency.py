"""R_c: golden values with their arithmetic, what prompts, what is computed once."""

import doctest

import numpy as np
import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, boxes_1000_to_px, format_completion
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.metrics import dice
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import AxialReward, ConsistencyReward, FormatReward, SpatialReward
from medvol_r1.rewards import consistency as module
from reward_cases import (
    EMPTY,
    FAR,
    NOWHERE,
    ON_A,
    ON_B,
    SHAPE,
    SLICES,
    TARGET,
    A,
    B,
    Repeat,
    RepeatPointed,
    answer,
    one,
    pointed,
    raw,
)  # fmt: skip


def test_the_example_of_the_docstring():
    result = doctest.testmod(module)
    assert result.attempted >= 7 and result.failed == 0


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


def px(points):
    """In pixels: 40 units a column, 20 rows: x / 25, y / 50."""
    return tuple((x / 25, y / 50) for x, y in points)


def consistency(text, mask=TARGET, delta=1):
    """R_c of an answer with points, and what its propagator was given."""
    propagator = RepeatPointed()
    value = one(ConsistencyReward(propagator=propagator, delta=delta, answer_form="boxes_and_points"), text, mask)
    return value, [call[1] for call in propagator.calls], propagator.pointed


def test_an_image_is_a_slice_with_one_box_and_two_points():
    text = format_completion(EvidenceAnchor(0, (A,), (ON_A,)), form="image")
    mask, slices = TARGET[3:4], SLICES[3:4]  # A alone
    rewards_of_image = [reward("image") for reward in (FormatReward, AxialReward, SpatialReward)]
    rewards_of_image.append(ConsistencyReward(propagator=RepeatPointed(), answer_form="image"))
    for reward in rewards_of_image:
        assert reward(completions=[text], masks=[mask], slices=[slices]) == [1.0]


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


@pytest.mark.parametrize("delta", [-1, 2.5, True, None])
def test_bad_delta(delta):
    with pytest.raises(ValueError, match=f"delta is {delta}; give the slices to each side"):
        ConsistencyReward(propagator=Repeat(), delta=delta)


def test_slices_out_of_range_are_the_propagator_s_error():
    reward = ConsistencyReward(propagator=SlicePropagator(build_tiny_medsam2(image_size=64, seed=3)))
    with pytest.raises(ValueError, match=r"slices range over -1000\.\.1000"):
        reward(completions=[answer(6, A)], masks=[TARGET], slices=[np.linspace(-1000, 1000, 9600).reshape(SHAPE)])

"""R_total: the weighted sum, its record, and what holds for all four terms."""

import doctest
import math
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from medvol_r1.rewards import (
    AxialReward,
    CompositeReward,
    ConsistencyReward,
    FormatReward,
    SpatialReward,
    composite,
    record_of,
)
from reward_cases import FAR, SHAPE, SLICES, TARGET, A, B, Repeat, all_four, answer, one, terms_of


def test_the_example_of_the_docstring():
    result = doctest.testmod(composite)
    assert result.attempted >= 6 and result.failed == 0


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


@pytest.mark.parametrize("key_slice", [1, 3, 10, 12])
def test_pitfall_1_a_slice_off_target_earns_nothing_though_both_masks_are_empty(key_slice):
    reward = ConsistencyReward(propagator=Repeat(), delta=0)
    assert one(reward, answer(key_slice, A)) == 0.0
    assert one(ConsistencyReward(propagator=Repeat(), delta=5), answer(key_slice, A)) == 0.0
    assert one(SpatialReward(), answer(key_slice, A)) == 0.0
    assert one(AxialReward(), answer(key_slice, A)) == 0.0


def test_pitfall_6_an_error_is_an_error_and_not_a_reward_of_zero():
    class Broken(Repeat):
        def mask(self, *arguments, **options):
            raise RuntimeError("out of memory")

    reward = CompositeReward(terms={"R_c": ConsistencyReward(propagator=Broken())}, weights={"R_c": 1.0})
    with pytest.raises(RuntimeError, match="out of memory"):
        one(reward, answer(6, A, B))


def test_pitfall_8_a_wrong_answer_earns_its_form_and_no_floor():
    assert terms_of(answer(12, FAR)) == {"R_f": 1.0, "R_a": 0.0, "R_s": 0.0, "R_c": 0.0}  # 1 of 4, not half of it
    assert terms_of("?") == dict.fromkeys(("R_f", "R_a", "R_s", "R_c"), 0.0)


def test_the_true_anchor_earns_the_best_value_where_propagation_is_perfect():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 4:8, 8:16] = True
    record = all_four().record(completions=[answer(6, A)], masks=[mask], slices=[SLICES])
    assert record.totals == pytest.approx([record.best], abs=1e-5) and record.best == 4.0


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

import numpy as np
import pytest
from medvol_r1.datasets.asked_queries import asked_queries, check_absent_fraction


def asked(seen, fraction, seed=0):
    return asked_queries(seen, fraction, np.random.default_rng(seed))


def test_the_fraction_is_that_of_what_is_asked():
    """6 targets seen: a quarter of 8 questions are the two others."""
    seen = [True, False, True, False, True, False, True, False, True, False, True, False]
    for seed in range(20):
        chosen = asked(seen, 0.25, seed)
        assert chosen == sorted(chosen) and [n for n in chosen if seen[n]] == [0, 2, 4, 6, 8, 10]
        assert len(chosen) == 8
    # The two are not always the same.
    assert len({tuple(asked(seen, 0.25, seed)) for seed in range(20)}) > 5


def test_parts_of_a_question_are_kept_on_the_mean():
    """3 targets seen at 0.1: a third of a question each time."""
    seen = [True] * 3 + [False] * 5
    absent = [len(asked(seen, 0.1, seed)) - 3 for seed in range(600)]
    assert set(absent) == {0, 1} and np.mean(absent) == pytest.approx(1 / 3, abs=0.06)  # three standard errors


def test_no_more_than_there_are():
    assert asked([True] * 8 + [False], 0.5) == list(range(9))
    assert asked([True] * 3, 0.5) == [0, 1, 2]


def test_none_at_zero_unless_no_target_is_seen():
    assert all(asked([True, False, True], 0.0, seed) == [0, 2] for seed in range(20))
    assert sorted({tuple(asked([False, False], 0.0, seed)) for seed in range(20)}) == [(0,), (1,)]


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5])
def test_no_share(fraction):
    with pytest.raises(ValueError, match=f"absent_fraction is {fraction}; a share from 0 to below 1"):
        check_absent_fraction(fraction)


def test_shares():
    for fraction in (None, 0, 0.0, 0.999):
        check_absent_fraction(fraction)

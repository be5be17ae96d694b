import numpy as np
import pytest
from medvol_r1.evaluation.bootstrap import ClusterBootstrap

BOOTSTRAP = ClusterBootstrap(400)


def test_the_mean_and_its_interval():
    values = np.random.default_rng(0).normal(0.5, 0.1, 200)
    found = ClusterBootstrap(2000).mean(range(200), values)
    assert found["value"] == pytest.approx(values.mean()) and found["n"] == 200
    # Of 200 independent values the percentile interval is close to the normal one, mean +- 1.96 s / sqrt(n).
    half = 1.96 * values.std() / np.sqrt(200)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_of_a_patients_query_add_no_certainty():
    values = np.random.default_rng(1).random(30)
    alone = BOOTSTRAP.mean(range(30), values)
    repeated = BOOTSTRAP.mean(np.repeat(range(30), 10).tolist(), np.repeat(values, 10))
    assert repeated["n"] == 300
    for edge in ("value", "low", "high"):
        assert repeated[edge] == pytest.approx(alone[edge])


def test_the_mean_weighs_rows_and_the_interval_resamples_patients():
    # Patient a has 3 rows of 1, b has one row of 0: the mean is 3 / 4. Resamples are aa (1), ab (3/4) or bb (0).
    found = BOOTSTRAP.mean(["a", "a", "a", "b"], [1, 1, 1, 0])
    assert (found["value"], found["low"], found["high"]) == (0.75, 0.0, 1.0)


def test_the_macro_mean_weighs_groups_alike():
    # liver: mean of 1, 1, 0.4 is 0.8; spleen: 0.2. Macro 0.5, while the mean of rows is 0.65.
    found = BOOTSTRAP.macro_mean("abcd", [1, 1, 0.4, 0.2], ["liver", "liver", "liver", "spleen"])
    assert found["value"] == pytest.approx(0.5)
    assert BOOTSTRAP.mean("abcd", [1, 1, 0.4, 0.2])["value"] == pytest.approx(0.65)


def test_a_group_that_a_resample_misses_is_left_out_of_it():
    found = BOOTSTRAP.macro_mean("ab", [1.0, 0.0], ["liver", "spleen"])
    # aa has the liver only, 1; bb the spleen only, 0; ab both, 0.5.
    assert (found["low"], found["value"], found["high"]) == (0.0, 0.5, 1.0)


def test_the_same_rows_give_the_same_interval():
    values = np.random.default_rng(2).random(20)
    assert BOOTSTRAP.mean(range(20), values) == BOOTSTRAP.mean(range(20), values)
    assert BOOTSTRAP.mean(range(20), values) != ClusterBootstrap(400, seed=1).mean(range(20), values)


def test_one_patient_has_no_interval_and_no_rows_have_no_value():
    assert BOOTSTRAP.mean(["a", "a"], [0, 1]) == {"value": 0.5, "low": None, "high": None, "n": 2}
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert BOOTSTRAP.mean([], []) == nothing == BOOTSTRAP.macro_mean([], [], [])


def test_samples_must_be_positive():
    with pytest.raises(ValueError, match="bootstrap_samples is 0; give at least 1"):
        ClusterBootstrap(0)

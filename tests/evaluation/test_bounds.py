import numpy as np
import pytest
from medvol_r1.evaluation.bounds import Bounds, oracle_boxes
from medvol_r1.evaluation.median_prior import MedianPrior, prior_name
from medvol_r1.slice_prompt import SlicePrompt

# Slices 1 and 2 show the target, slice 2 the most of it, in two parts.
TRUTH = np.zeros((4, 10, 20), bool)
TRUTH[1, 2:4, 2:4] = True
TRUTH[2, 2:6, 2:6] = TRUTH[2, 2:6, 12:16] = True
ENTRY = {"subset": "organs", "target": "liver"}


@pytest.fixture
def prior(tmp_path):
    MedianPrior({"organs/liver": 0.5}, {"organs/liver": [(0, 0, 500, 500)]}).save(tmp_path / "prior.json")
    return tmp_path / "prior.json"


def test_the_prompts_of_all_bounds(prior):
    prompts = Bounds(["oracle_anchor", "oracle_boxes", "prior"], prior).prompts(ENTRY, TRUTH, key_index=1)
    assert prompts == {
        "oracle_anchor": SlicePrompt(2, ((2.0, 2.0, 6.0, 6.0), (12.0, 2.0, 16.0, 6.0))),
        "oracle_boxes": SlicePrompt(1, ((2.0, 2.0, 4.0, 4.0),)),
        "prior": SlicePrompt(2, ((0.0, 0.0, 10.0, 5.0),)),  # round(0.5 * 3) is 2
    }


def test_only_what_is_wanted_is_there():
    assert list(Bounds(["oracle_boxes"]).prompts(ENTRY, TRUTH, 1)) == ["oracle_boxes"]
    assert Bounds().prompts(ENTRY, TRUTH, 1) == {}


def test_a_predicted_slice_without_target_or_no_slice_has_no_true_boxes():
    bounds = Bounds(["oracle_boxes"])
    assert bounds.prompts(ENTRY, TRUTH, 0) == bounds.prompts(ENTRY, TRUTH, None) == {"oracle_boxes": None}
    assert oracle_boxes(np.zeros((2, 3, 3), bool), 0) is None


def test_a_target_that_no_slice_shows_or_the_prior_does_not_know_has_no_prompt(prior):
    prompts = Bounds(["oracle_anchor", "prior"], prior).prompts({"target": "heart"}, np.zeros((4, 10, 20), bool), 1)
    assert prompts == {"oracle_anchor": None, "prior": None}


@pytest.mark.parametrize("names", [["oracle"], ["prior", "prior"], "prior"])
def test_unknown_bounds(names):
    with pytest.raises(ValueError, match="bounds is .* a list of some of .*'oracle_anchor', 'oracle_boxes', 'prior'"):
        Bounds(names)


@pytest.mark.parametrize("text", [None, "[]", '{"liver": {"position": 0.5}}', "nonsense"])
def test_a_prior_that_cannot_be_read_names_its_command(tmp_path, text):
    path = tmp_path / "prior.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"prior.json cannot be read .*python -m .*\.fit_median_prior"):
        Bounds(["prior"], path)


def test_names_in_the_prior_hold_the_subset_where_there_is_one():
    assert prior_name({"subset": "renal", "target": "cyst"}) == "renal/cyst"
    assert prior_name({"target": "cyst"}) == "cyst"

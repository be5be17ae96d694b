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


# Boxes and points ---------------------------------------------------------------------------------------------------


def test_true_marks_are_one_box_and_two_points_on_the_slice_that_shows_the_most():
    prompts = Bounds(["true_box", "true_points", "true_marks"]).prompts(ENTRY, TRUTH, key_index=None)
    # Around both parts: columns 2..15, rows 2..5; a point in each part.
    box = (2.0, 2.0, 16.0, 6.0)
    assert prompts["true_box"] == SlicePrompt(2, (box,))
    (points,) = prompts["true_points"].points_xy_px
    assert all(TRUTH[2, int(y), int(x)] for x, y in points) and len({x < 8 for x, _ in points}) == 2
    assert prompts["true_points"].boxes_xyxy_px == () and prompts["true_marks"] == SlicePrompt(2, (box,), (points,))


def test_listed_marks_come_before_those_of_the_mask():
    marks = {"bbox": [0, 100, 500, 600], "points_1": [100, 300], "points_2": [200, 300]}
    prompts = Bounds(["true_marks"]).prompts(ENTRY | {"marks": marks}, TRUTH[2:3], None)
    # 10 rows, 20 columns: 500 of 1000 is 10 columns or 5 rows.
    expected = SlicePrompt(0, ((0.0, 1.0, 10.0, 6.0),), (((2.0, 3.0), (4.0, 3.0)),))
    assert prompts["true_marks"] == expected


def test_box_and_points_of_an_answer_are_asked_apart():
    bounds = Bounds(["answer_box", "answer_points"])
    answer = SlicePrompt(1, ((1.0, 1.0, 5.0, 5.0),), (((2.0, 2.0), (3.0, 3.0)),))
    prompts = bounds.prompts(ENTRY, TRUTH, 1, answer)
    assert prompts["answer_box"] == SlicePrompt(1, answer.boxes_xyxy_px)
    assert prompts["answer_points"] == SlicePrompt(1, (), answer.points_xy_px)
    boxed = bounds.prompts(ENTRY, TRUTH, 1, SlicePrompt(1, answer.boxes_xyxy_px))
    assert boxed == {"answer_box": SlicePrompt(1, answer.boxes_xyxy_px), "answer_points": None}
    assert bounds.prompts(ENTRY, TRUTH, None, None) == {"answer_box": None, "answer_points": None}


def test_without_a_target_there_are_no_true_marks():
    prompts = Bounds(["true_box", "true_marks"]).prompts(ENTRY, np.zeros((1, 4, 4), bool), 0)
    assert prompts == {"true_box": None, "true_marks": None}

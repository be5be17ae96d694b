from pathlib import Path

import numpy as np
import pytest
from answered_cases import SHAPE, geometry_meta, nine_voxels, record_of
from hostile_text import HOSTILE
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.study import COLORS, LONGEST_NAME, MOST_ANSWERS, MOST_HISTORY, MOST_MASKS, Study, checked_name
from medvol_r1.volume.geometry import SliceGeometry


@pytest.fixture
def study():
    return Study("id", "owner", "ct.nii.gz", Path("ct.nii.gz"), ("ct",), SliceGeometry.from_meta(geometry_meta()))


def add(study, name, query="the liver", kind="question"):
    study.add(name, kind, record_of(query=query), nine_voxels())


def reason(call, *arguments):
    with pytest.raises(ServiceError) as caught:
        call(*arguments)
    return caught.value.reason


def test_a_mask_has_a_name_a_color_and_its_answer(study):
    add(study, "liver")
    add(study, "spleen")
    assert [(mask.name, mask.color) for mask in study.masks()] == [("liver", COLORS[0]), ("spleen", COLORS[1])]
    assert study.mask("liver").current.mask.full().sum() == 9
    assert reason(study.mask, "kidney") == "unknown_mask"


def test_numbers_of_answers_never_come_twice(study):
    add(study, "liver")
    add(study, "liver")
    study.undo("liver")
    add(study, "liver")
    assert [revision.number for revision in study.mask("liver").revisions] == [1, 3]


def test_undo_leaves_one_answer(study):
    add(study, "liver", "first")
    add(study, "liver", "second")
    study.undo("liver")
    assert study.mask("liver").current.record["query"] == "first"
    assert reason(study.undo, "liver") == "nothing_to_undo"
    assert reason(study.undo, "spleen") == "unknown_mask"


def test_renaming_keeps_the_order(study):
    for name in ("a", "b", "c"):
        add(study, name)
    study.rename("b", "x")
    study.rename("x", "x")
    assert [mask.name for mask in study.masks()] == ["a", "x", "c"]
    assert reason(study.rename, "a", "c") == "name_taken"
    assert reason(study.rename, "b", "d") == "unknown_mask"
    assert reason(study.rename, "a", "../d") == "bad_name"


def test_the_history_tells_what_was_done(study):
    add(study, "liver", "the organ")
    study.rename("liver", "hepar")
    study.delete("hepar")
    assert study.masks() == []
    assert [(one["kind"], one["mask"], one["query"], one["status"]) for one in study.history()] == [
        ("question", "liver", "the organ", "ok"),
        ("rename", "hepar", "the organ", "ok"),
        ("delete", "hepar", "the organ", "ok"),
    ]
    assert study.history()[0]["volume_ml"] == 0.18  # nine voxels of 2 x 2 x 5 mm
    assert study.history()[0]["time"].endswith("+00:00")


def test_a_study_grows_no_further(study):
    for number in range(MOST_MASKS):
        assert study.name_for("query", None) == ("query" if number == 0 else f"query {number + 1}")
        add(study, study.name_for("query", None))
    assert reason(study.name_for, "query", None) == "too_many_masks"
    assert study.name_for("query", "query 2") == "query 2", "one that exists gets a new answer"
    for _ in range(MOST_HISTORY + 5):
        add(study, "query")
    assert len(study.mask("query").revisions) == MOST_ANSWERS and len(study.history()) == MOST_HISTORY


@pytest.mark.parametrize("query", [*HOSTILE, "x" * 2000, "../..", "\0", "/", " . "])
def test_a_query_of_any_kind_names_a_mask(study, query):
    for _ in range(2):
        name = study.name_for(query, None)
        assert checked_name(name) == name and len(name) <= LONGEST_NAME
        add(study, name, query)


@pytest.mark.parametrize("name", ["", ".", "..", " ", "a/b", "a\\b", "a\nb", "\0", "x" * 65, "\u202egpj"])
def test_what_is_no_name_is_refused(name):
    assert reason(checked_name, name) == "bad_name"


@pytest.mark.parametrize(
    "name", ["liver", "left kidney (lower pole)", "肝臓", "$import os", "%x", "@id", "<b>", "x" * 64]
)
def test_names_are_text(name):
    assert checked_name(name) == name


def test_spacing_follows_the_axes_that_are_displayed():
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 5, -2, 3, 1  # source axes run up, right to left, forward
    geometry = SliceGeometry.from_meta(geometry_meta(affine, SHAPE))
    assert Study("id", "owner", "n", Path("n"), ("n",), geometry).spacing_mm == (2, 3, 5)
    assert geometry.lps_shape == (10, 8, 12)

"""A person's evidence on its way into the image's meta data."""

import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion
from medvol_r1.volume.correction import QUERY_OF_BOXES, CorrectionError, CorrectionToMetad
from medvol_r1.volume.query_text import QueryToMetad
from monai.data import MetaTensor
from monai.transforms import Compose

BOXES = [[0, 10, 500, 1000], [600, 0, 700, 20]]


def corrected(**given):
    """The data of an image of 5 slices, as preprocessing leaves it."""
    image = MetaTensor(torch.zeros(1, 5, 8, 8), meta={"filename_or_obj": "ct.nii.gz"})
    return Compose([CorrectionToMetad("image"), QueryToMetad("image")])({"image": image, **given})


def test_the_given_answer_states_the_key_slice_and_the_boxes():
    meta = corrected(query="the liver", key_slice=5, bbox_2d_list=BOXES)["image"].meta
    assert parse_completion(meta["given_answer"], 5) == EvidenceAnchor(4, tuple(map(tuple, BOXES)))
    assert (meta["query"], meta["filename_or_obj"]) == ("the liver", "ct.nii.gz")


def test_points_may_stand_beside_the_boxes_or_alone():
    points = [[], [[650, 10], [660, 12]]]
    answers = [
        corrected(key_slice=2, bbox_2d_list=BOXES, point_2d_list=points)["image"].meta["given_answer"],
        corrected(key_slice=2, bbox_2d_list=[], point_2d_list=points[1:])["image"].meta["given_answer"],
    ]
    boxes, own = tuple(map(tuple, BOXES)), ((650, 10), (660, 12))
    assert [parse_completion(answer, 5, "boxes_and_points") for answer in answers] == [
        EvidenceAnchor(1, boxes, ((), own)),
        EvidenceAnchor(1, (), (own,)),
    ]


def test_no_boxes_say_that_the_target_is_absent():
    assert parse_completion(corrected(key_slice=1, bbox_2d_list=[])["image"].meta["given_answer"], 5).is_absent


@pytest.mark.parametrize("query", [{}, {"query": None}])
def test_a_query_may_be_missing(query):
    assert corrected(**query, key_slice=1, bbox_2d_list=BOXES)["image"].meta["query"] == QUERY_OF_BOXES


@pytest.mark.parametrize("given", [{}, {"key_slice": None, "bbox_2d_list": None}])
def test_nothing_given_changes_nothing(given):
    assert "given_answer" not in corrected(query="the liver", **given)["image"].meta


@pytest.mark.parametrize(
    "given, reason, message",
    [
        ({"key_slice": 3}, "wrong_schema", "key_slice, wanted are key_slice and bbox_2d_list"),
        ({"bbox_2d_list": BOXES}, "wrong_schema", "bbox_2d_list, wanted are key_slice and bbox_2d_list"),
        ({"key_slice": 3, "bbox_2d_list": "all"}, "wrong_schema", "bbox_2d_list is 'all', not a list"),
        ({"key_slice": "3", "bbox_2d_list": BOXES}, "key_slice_not_integer", "'3'; give key_slice, 1 to 5"),
        ({"key_slice": 0, "bbox_2d_list": BOXES}, "key_slice_out_of_range", "0, legal are 1 to 5"),
        ({"key_slice": 6, "bbox_2d_list": BOXES}, "key_slice_out_of_range", "6, legal are 1 to 5"),
        ({"key_slice": 3, "bbox_2d_list": [[0, 0, 0.5, 9]]}, "box_not_four_integers", r"\[0, 0, 0.5, 9\]"),
        ({"key_slice": 3, "bbox_2d_list": [[0, 0, 9, 1001]]}, "box_out_of_range", "1001.*legal are 0 to 1000"),
        ({"key_slice": 3, "bbox_2d_list": [[9, 0, 9, 5]]}, "box_without_area", r"\[9, 0, 9, 5\].*x1 < x2"),
        ({"key_slice": 3, "bbox_2d_list": [[0, 0, 9, 9]] * 17}, "too_many_boxes", "17, at most 16"),
        ({"point_2d_list": [[[5, 5]]]}, "wrong_schema", "point_2d_list, wanted are key_slice and bbox_2d_list"),
        (
            {"key_slice": 3, "bbox_2d_list": BOXES, "point_2d_list": [[[5, 5]]]},
            "points_without_object",
            "1 lists of points for 2 boxes.*point_2d_list, if there are points, has a list",
        ),
        ({"key_slice": 3, "bbox_2d_list": [], "point_2d_list": [[[5, 1001]]]}, "point_out_of_range", "1001"),
    ],
)
def test_evidence_that_cannot_be_used_says_why(given, reason, message):
    with pytest.raises(RuntimeError) as wrapped:  # MONAI wraps what a transform raises
        corrected(query="the liver", **given)
    error = wrapped.value.__cause__
    assert isinstance(error, CorrectionError) and error.reason == reason
    with pytest.raises(CorrectionError, match=f"the given evidence cannot be used: {reason}, .*{message}"):
        raise error

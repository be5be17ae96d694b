from pathlib import Path

import numpy as np
import pytest
from answered_cases import geometry_meta, nine_voxels, record_of
from medvol_r1.anchor import EvidenceAnchor, parse_completion
from medvol_r1.service.display import displayed_mask, given_answer
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.study import Study
from medvol_r1.volume.geometry import SliceGeometry

# 12 x 10 x 8 voxels; slices 0, 2, 4, 6 are shown, of each the columns -2 to 18 and the rows 0 to 20.
CROP = (-2, 0, 18, 20)
GEOMETRY = SliceGeometry.from_meta(geometry_meta() | {"crop_xyxy_px": np.array(CROP)})


def reason(key_slice, boxes, points=()):
    with pytest.raises(ServiceError) as caught:
        given_answer(key_slice, boxes, GEOMETRY, points)
    return caught.value.reason, str(caught.value)


def test_a_mask_is_told_in_voxels_and_pixels():
    study = Study("id", "owner", "n", Path("n"), ("n",), GEOMETRY)
    study.add("liver", "question", record_of(boxes_1000=[[100, 50, 500, 250]]), nine_voxels())
    told = displayed_mask(study.mask("liver"), GEOMETRY)
    assert told["key_slice"] == 2, "the second of the slices that are shown"
    # 20 pixels a side: 100 of 1000 are 2 pixels, two of which lie outside to the left.
    assert told["bbox_2d_list"] == [[0, 1, 8, 5]]
    # nine_voxels: [1:4, 2:5, 3].
    assert told["slice_ranges"] == {"sagittal": (1, 3), "coronal": (2, 4), "axial": (3, 3)}
    assert (told["status"], told["status_text"], told["corrected"]) == ("ok", "found", False)
    assert (told["voxels"], told["volume_ml"], told["undo"], told["revision"]) == (9, 0.18, False, 1)


def test_an_empty_mask_is_told():
    study = Study("id", "owner", "n", Path("n"), ("n",), GEOMETRY)
    record = record_of(status="missing_tag", key_index=None, boxes_1000=[])
    study.add("liver", "question", record, np.zeros((12, 10, 8)))
    told = displayed_mask(study.mask("liver"), GEOMETRY)
    assert (told["key_slice"], told["bbox_2d_list"], told["slice_ranges"]) == (None, [], None)
    assert "missing_tag" in told["status_text"]


def test_boxes_come_back_as_they_are_told():
    answer = given_answer(2, [[0, 1, 8, 5]], GEOMETRY)
    assert parse_completion(answer, 4) == EvidenceAnchor(1, ((100, 50, 500, 250),))


def test_what_lies_outside_of_the_shown_part_is_cut_off():
    answer = given_answer(6, [[-100, -100, 100, 100]], GEOMETRY)
    assert parse_completion(answer, 4) == EvidenceAnchor(3, ((0, 0, 1000, 1000),))


def test_no_box_is_not_there():
    assert parse_completion(given_answer(0, [], GEOMETRY), 4) == EvidenceAnchor(0, ())


@pytest.mark.parametrize("key_slice, nearest", [(1, 0), (3, 2), (7, 6), (-1, 0), (10**30, 6)])
def test_a_slice_that_the_models_do_not_see_is_refused(key_slice, nearest):
    found, message = reason(key_slice, [[0, 0, 5, 5]])
    assert found == "key_slice_not_shown" and message.endswith(f"the nearest of these is {nearest}.")


@pytest.mark.parametrize(
    "box",
    [[5, 0, 5, 5], [5, 0, 4, 5], [0, 5, 5, 5], [20, 0, 30, 5], [0, 0, 5, float("nan")], [0, 0, float("inf"), 5],
     [1, 2, 3], [1, 2, 3, 4, 5], []],
)  # fmt: skip
def test_what_is_no_box_is_refused(box):
    assert reason(2, [[0, 0, 5, 5], box])[0] == "bad_boxes"


def test_so_many_boxes():
    given_answer(2, [[0, 0, 5, 5]] * 16, GEOMETRY)
    assert reason(2, [[0, 0, 5, 5]] * 17)[0] == "bad_boxes"


def test_points_of_boxes_come_back_as_they_are_told():
    points = [[], [[3, 4], [17.9, 0]]]
    answer = given_answer(2, [[0, 1, 8, 5], [-2, 0, 18, 20]], GEOMETRY, points)
    # 20 pixels from column -2 and row 0 on: (3 + 2) / 20 and 4 / 20; (17.9 + 2) / 20 and 0.
    anchor = parse_completion(answer, 4, "boxes_and_points")
    assert anchor.points_xy_1000 == ((), ((250, 200), (995, 0)))
    study = Study("id", "owner", "n", Path("n"), ("n",), GEOMETRY)
    record = record_of(boxes_1000=anchor.boxes_xyxy_1000, points_1000=anchor.points_xy_1000)
    study.add("liver", "correction", record, nine_voxels())
    assert displayed_mask(study.mask("liver"), GEOMETRY)["point_2d_list"] == points


def test_boxes_whose_lists_of_points_are_empty_have_no_points():
    boxes = [[0, 1, 8, 5]]
    assert given_answer(2, boxes, GEOMETRY, [[]]) == given_answer(2, boxes, GEOMETRY)


@pytest.mark.parametrize(
    "points, message",
    [
        ([[[3, 4]], []], "there are 2 lists of points for 1 boxes; give one a box, [] for none."),
        ([[[3, 4]] * 17], "a box has 17 points; at most 16 are legal."),
        ([[[3]]], "[3] is no point [x, y] in the part of the slice that the models see, [-2, 0, 18, 20]."),
        ([[[18.5, 4]]], "[18.5, 4] is no point [x, y]"),
        ([[[float("nan"), 4]]], "[nan, 4] is no point [x, y]"),
    ],
)
def test_what_are_no_points_is_refused(points, message):
    found, told = reason(2, [[0, 1, 8, 5]], points)
    assert found == "bad_points" and told.startswith(message)

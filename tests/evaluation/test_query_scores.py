"""Rows of single queries on a volume that is flipped against the shown slices, with numbers made by hand."""

import numpy as np
import pytest
from medvol_r1.datasets.volume_cases import Target
from medvol_r1.evaluation.columns import COLUMNS
from medvol_r1.evaluation.query_scores import Outcome, VolumeScorer
from medvol_r1.volume.cropped_mask import CroppedMask
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps, shown_mask

# Array axes run to R, A and I: 1 x 1 x 4 mm, a voxel has 0.004 ml. All 6 slices are shown, as they are, from below.
AFFINE = np.diag([1.0, 1.0, -4.0, 1.0])
SHAPE = (10, 8, 6)
GEOMETRY = SliceGeometry(SHAPE, AFFINE, orientation_to_lps(AFFINE), np.arange(6))
SHOWN_AFFINE = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
ENTRY = {"case": "c", "patient": "p", "query": "q", "image": "i", "target": "liver", "type": "A", "subset": "organs"}


def source(x, y, z):
    mask = np.zeros(SHAPE, bool)
    mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def target(mask, opposite=None):
    shown = shown_mask(mask, GEOMETRY, 8, 10)
    return Target(CroppedMask.of(mask), shown, AFFINE, None if opposite is None else CroppedMask.of(opposite))


def answer(mask, key_index=2, boxes=((0, 0, 1000, 1000),), status="ok", **bounds):
    evidence = {"status": status, "key_index": key_index, "boxes_1000": [list(box) for box in boxes]}
    shown = {name: shown_mask(bound, GEOMETRY, 8, 10) for name, bound in bounds.items()}
    return Outcome(evidence, None, shown_mask(mask, GEOMETRY, 8, 10), shown, 0.5)


def score(truth, given, grid="source", bounds=(), entry=ENTRY, geometry=GEOMETRY):
    return VolumeScorer(geometry, SHOWN_AFFINE, grid, 1.0).row(entry, truth, given, bounds)


# 4 x 4 in plane; source slices 1 to 3 are, counted from below among 6, shown slices 2 to 4.
TRUE = source((2, 6), (2, 6), (1, 4))
NOTHING = np.zeros(SHAPE, bool)


@pytest.mark.parametrize("grid", ["source", "shown"])
def test_a_row(grid):
    # Half of the target and as much beside it: DSC 1/2, IoU 1/3. Boxes: x 4-8 of 10, y 2-6 of 8 on the shown slices.
    row = score(target(TRUE), answer(source((4, 8), (2, 6), (1, 4)), boxes=[(400, 250, 800, 750)]), grid)
    assert tuple(row) == COLUMNS
    assert (row["DSC"], row["IoU"]) == pytest.approx((0.5, 1 / 3))
    assert (row["true_ml"], row["pred_ml"], row["shared_ml"]) == pytest.approx((0.192, 0.192, 0.096))
    assert (row["status"], row["error"], row["format_ok"], row["present"]) == ("ok", False, True, True)
    assert (row["key_slice"], row["R_a"], row["key_holds_target"], row["key_offset_mm"]) == (3, 1.0, True, 0.0)
    assert row["box_iou"] == 1.0 and row["slice_thickness_mm"] == 4.0 and row["seconds"] == 0.5
    assert row["oracle_anchor_DSC"] is None and row["swapped"] is None


def test_grounding_of_a_slice_beside_the_target():
    truth = TRUE.copy()
    truth[2, 2:6, 4] = True  # 4 voxels of 16 on source slice 4, shown slice 1
    row = score(target(truth), answer(TRUE, key_index=1, boxes=[(0, 0, 500, 500)]))
    assert (row["key_holds_target"], row["R_a"], row["key_offset_mm"]) == (True, 0.25, 4.0)
    row = score(target(TRUE), answer(TRUE, key_index=0))
    # Two slices of 4 mm below the nearest slice with the largest area.
    assert (row["key_holds_target"], row["R_a"], row["key_offset_mm"], row["box_iou"]) == (False, 0.0, 8.0, 0.0)


@pytest.mark.parametrize("status, key_index", [("absent", 0), ("missing_tag", None)])
def test_an_answer_without_boxes_on_a_present_target(status, key_index):
    row = score(target(TRUE), answer(NOTHING, key_index=key_index, boxes=(), status=status))
    assert [row[key] for key in ("DSC", "IoU", "NSD", "R_a", "box_iou", "key_holds_target")] == [0, 0, 0, 0, 0, False]
    assert row["HD95_mm"] is None and row["key_offset_mm"] is None
    assert row["format_ok"] == (key_index is not None) and row["error"] is False


def test_an_absent_target_has_no_dsc_but_a_volume_of_what_was_found():
    row = score(target(NOTHING), answer(TRUE), bounds=("oracle_anchor",))
    assert row["present"] is False and row["pred_ml"] == pytest.approx(0.192)
    assert all(row[key] is None for key in ("DSC", "IoU", "NSD", "HD95_mm", "R_a", "box_iou", "oracle_anchor_DSC"))


def test_a_failed_case_scores_zero_and_keeps_the_true_volume():
    failure = Outcome(None, {"case": "c", "reason": "missing_file", "message": "gone"})
    truth = Target(CroppedMask.of(TRUE), None, AFFINE, CroppedMask.of(NOTHING))
    row = score(truth, failure, bounds=("oracle_anchor",), geometry=None)
    assert (row["status"], row["error"], row["present"], row["DSC"], row["IoU"]) == ("missing_file", True, True, 0, 0)
    assert row["true_ml"] == pytest.approx(0.192) and row["pred_ml"] == 0.0 and row["oracle_anchor_IoU"] == 0.0


@pytest.mark.parametrize("kind, present", [("B", True), ("H", False)])
def test_a_label_that_cannot_be_read_is_a_failure_and_the_type_says_what_it_would_have_been(kind, present):
    unreadable = {"case": "c", "reason": "label_mismatch", "message": "other grid"}
    row = score(unreadable, answer(TRUE), entry={**ENTRY, "type": kind})
    assert (row["status"], row["error"], row["present"]) == ("label_mismatch", True, present)
    assert row["DSC"] == (0.0 if present else None) and row["true_ml"] is None


def test_without_a_label_only_the_answer_is_told():
    row = score(None, answer(TRUE))
    assert (row["status"], row["present"], row["DSC"], row["key_slice"]) == ("ok", None, None, 3)


def test_swapped_is_what_lies_more_in_the_counterpart():
    other = source((6, 10), (2, 6), (1, 4))
    both = target(TRUE, other)
    assert score(both, answer(other))["swapped"] is True
    assert score(both, answer(TRUE | source((6, 7), (2, 6), (1, 4))))["swapped"] is False
    assert score(both, answer(NOTHING))["swapped"] is False
    assert score(both, answer(TRUE | other))["swapped"] is False, "as much of one as of the other"
    assert score(target(TRUE, NOTHING), answer(other))["swapped"] is None, "no counterpart in view"


def test_bounds_are_scored_like_predictions():
    row = score(target(TRUE), answer(NOTHING, oracle_anchor=TRUE, prior=NOTHING), bounds=("oracle_anchor", "prior"))
    assert (row["oracle_anchor_DSC"], row["oracle_anchor_IoU"], row["prior_DSC"]) == (1.0, 1.0, 0.0)
    assert row["oracle_boxes_DSC"] is None


def test_a_target_between_the_shown_slices_is_present_on_the_source_grid_only():
    geometry = SliceGeometry(SHAPE, AFFINE, orientation_to_lps(AFFINE), np.array([0, 2, 4]))
    mask = source((2, 6), (2, 6), (2, 3))  # shown from below it is slice 3
    truth = Target(CroppedMask.of(mask), shown_mask(mask, geometry, 8, 10), AFFINE, None)
    empty = Outcome({"status": "absent", "key_index": 0, "boxes_1000": []}, None, np.zeros((3, 8, 10), bool))
    assert not truth.shown.any()
    assert score(truth, empty, "source", geometry=geometry)["DSC"] == 0.0
    assert score(truth, empty, "shown", geometry=geometry)["present"] is False
    found = Outcome({"status": "ok", "key_index": 1, "boxes_1000": [[0, 0, 9, 9]]}, None, np.ones((3, 8, 10), bool))
    row = score(truth, found, "source", geometry=geometry)
    assert (row["R_a"], row["key_offset_mm"], row["box_iou"]) == (0.0, None, 0.0)


def test_equal_masks_are_restored_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "medvol_r1.evaluation.query_scores.restore_mask", lambda mask, geometry: calls.append(1) or TRUE
    )
    scorer = VolumeScorer(GEOMETRY, SHOWN_AFFINE, "source", 1.0)
    for _ in range(3):
        scorer.row(ENTRY, target(TRUE), answer(TRUE), ())
    assert len(calls) == 1


def test_an_unknown_grid():
    with pytest.raises(ValueError, match="metric_grid is 'voxel'; legal are source, shown"):
        VolumeScorer(GEOMETRY, SHOWN_AFFINE, "voxel", 1.0)


MARKS = {"bbox": [200, 250, 600, 750], "points_1": [300, 500], "points_2": [500, 500]}


@pytest.mark.parametrize(
    ("boxes", "points", "expected"),
    [
        ([[200, 250, 600, 750]], [[[500, 500], [300, 500]]], (1.0, 1.0)),
        ([[200, 250, 400, 750]], [[[300, 500], [500, 500]]], (0.5, 1.0)),
        # Discs of radius 100, centres 100 apart: 0.391002, as in test_measures.
        ([[200, 250, 600, 750]], [[[400, 500], [600, 500]]], (1.0, 0.391002)),
        ([[200, 250, 600, 750]], [], (1.0, 0.0)),
        ([[200, 250, 600, 750]] * 2, [[[300, 500], [500, 500]]] * 2, (0.0, 0.0)),
        ([], [], (0.0, 0.0)),
    ],
)
def test_box_and_points_against_the_listed_marks(boxes, points, expected):
    given = answer(TRUE, boxes=boxes)
    given.evidence["points_1000"] = points
    row = score(target(TRUE), given, entry=ENTRY | {"marks": MARKS})
    assert (row["marks_iou"], row["point_dice"]) == pytest.approx(expected, abs=1e-5)


def test_without_marks_there_is_nothing_to_say_and_a_failure_counts_zero():
    row = score(target(TRUE), answer(TRUE))
    assert row["marks_iou"] is row["point_dice"] is None
    failed = Outcome(None, {"case": "c", "reason": "missing_tag", "message": ""})
    row = score(target(TRUE), failed, entry=ENTRY | {"marks": MARKS})
    assert (row["marks_iou"], row["point_dice"], row["DSC"]) == (0.0, 0.0, 0.0)

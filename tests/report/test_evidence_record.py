import json

import numpy as np
import torch
from answered_cases import AFFINE, evidence, geometry_meta, nine_voxels, record_of
from medvol_r1.report.evidence_record import EvidenceRecordd, evidence_record, marks_in_words
from monai.data import MetaTensor

KEYS = (
    "image query status completion think key_slice source_slice boxes_1000 boxes_px points_1000 points_px "
    "slices_shown shown_xyxy_px "
    "agreement answers corrected voxels volume_ml seconds weights"
).split()


def test_the_record_has_the_documented_keys_in_order():
    assert list(record_of()) == KEYS


def test_the_record_counts_voxels_and_turns_indices_for_people():
    record = record_of()
    # Nine voxels of 2 * 2 * 5 = 20 mm3 are 0.18 ml; shown index 1 is source slice 2 (S already runs upwards).
    assert (record["voxels"], record["volume_ml"]) == (9, 0.18)
    assert (record["key_slice"], record["source_slice"], record["slices_shown"]) == (2, 2, 4)
    assert record["shown_xyxy_px"] == [0, 0, 12, 10]
    assert record["weights"] == {"lvlm": "folder"} and record["image"] == "ct.nii.gz"


def test_points_are_recorded_beside_the_boxes():
    record = record_of(points_1000=[[[250, 250]]], points_px=[[[32.0, 32.0]]])
    assert (record["points_1000"], record["points_px"]) == ([[[250, 250]]], [[[32.0, 32.0]]])
    assert (record_of()["points_1000"], record_of()["points_px"]) == ([], [])


def test_marks_in_words():
    box, point = [0, 0, 9, 9], [3, 4]
    told = {
        "1 box": {"boxes_1000": [box]},
        "0 boxes": {"boxes_1000": [], "points_1000": []},
        "2 boxes, 1 point": {"boxes_1000": [box, box], "points_1000": [[], [point]]},
        "3 points": {"boxes_1000": [], "points_1000": [[point], [point, point]]},
    }
    assert {marks_in_words(record) for record in told.values()} == set(told)
    assert all(marks_in_words(record) == words for words, record in told.items())


def test_the_source_slice_follows_the_affine():
    # Stored from superior to inferior: shown index 1 is LPS slice 2, stored as 7 - 2.
    assert record_of(affine=AFFINE @ np.diag([1, 1, -1, 1.0]))["source_slice"] == 5


def test_a_failure_has_no_key_slice_and_is_plain_json():
    record = record_of(status="missing_tag", key_index=None, boxes_1000=[], boxes_px=[])
    assert record["status"] == "missing_tag" and record["key_slice"] is None and record["source_slice"] is None
    assert json.loads(json.dumps(record)) == record


def test_the_transform_reads_the_evidence_as_it_is_and_changes_nothing():
    said = evidence()
    mask = MetaTensor(torch.from_numpy(nine_voxels())[None], meta={"evidence": said})
    meta = geometry_meta() | {"query": "the liver", "filename_or_obj": "ct.nii.gz"}
    data = {"pred": mask, "image": MetaTensor(torch.zeros(1, 4, 8, 8), meta=meta)}
    recorded = EvidenceRecordd(weights={"lvlm": "folder"})(data)
    assert recorded["result"] == record_of() and "result" not in data and said == evidence()


def test_without_the_size_of_a_pixel_there_is_no_volume():
    meta = geometry_meta() | {"has_spacing": False}
    record = evidence_record(evidence(), nine_voxels(), meta, query="the mole", weights={})
    assert record["volume_ml"] is None and record["voxels"] == 9

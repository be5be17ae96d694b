import json

import nibabel as nib
import numpy as np
from medvol_r1.layouts import abdomenct_1k, kits23, m3d_refseg, m3d_seg
from medvol_r1.preparation.prepared_case import CasePreparer
from medvol_r1.queries.label_parts import NO_VALUE
from medvol_r1.queries.own_targets import OwnTarget
from miniature_data_sets import write_abdomenct_1k, write_kits23, write_m3d_refseg, write_m3d_seg


def test_a_case_of_kits(tmp_path):
    (case,) = kits23.find_cases(write_kits23(tmp_path / "in", numbers=(1,))).cases
    preparer = CasePreparer(str(tmp_path / "out"), questions_per_target=2)
    record = preparer(case)
    assert json.loads(json.dumps(record)) == record  # JSON types, so the journal gives back what was kept
    assert record["image"] == str(case.image.absolute()) and record["label"] == "labels/kits23_00001.nii.gz"
    parts = {(part["name"], part["side"]) for part in record["parts"]}
    assert {("right kidney", "right"), ("left kidney", "left")} <= parts
    assert {("kidney cyst", "right"), ("kidney tumor", "left")} <= parts
    label = nib.load(tmp_path / "out" / record["label"])
    assert np.allclose(label.affine, nib.load(case.image).affine, atol=1e-4)
    voxels = np.asarray(label.dataobj)
    for part in record["parts"]:
        assert np.count_nonzero(voxels == part["value"]) == part["voxels"]
    # Right is to the right of left, in RAS mm.
    centers = {
        part["side"]: nib.affines.apply_affine(label.affine, np.argwhere(voxels == part["value"]).mean(axis=0))
        for part in record["parts"]
        if part["name"].endswith("y")
    }
    assert centers["right"][0] > centers["left"][0]
    asked = record["questions"]["training"]
    values = {part["value"] for part in record["parts"]}
    assert all(values.issuperset(q["label_values"]) != (q["type"] == "H") for q in asked)
    assert [q["label_values"] for q in asked if q["type"] == "H"] == [[NO_VALUE]] * sum(q["type"] == "H" for q in asked)
    groups = [{q["paraphrase_group"] for q in record["questions"][split]} for split in ("training", "test")]
    assert not groups[0] & groups[1]
    assert preparer(case) == record
    other = CasePreparer(str(tmp_path / "out"), questions_per_target=2, seed=1)(case)
    assert other["questions"] != record["questions"]


def test_a_repaired_image_is_written(tmp_path):
    (case,) = m3d_seg.find_cases(write_m3d_seg(tmp_path / "in", numbers=(1,), axes=("PRS",))).cases
    record = CasePreparer(str(tmp_path))(case)
    assert record["image"] == "images/m3d_0003_case_00001.nii.gz" and record["spacing_mm"] is None
    image = nib.load(tmp_path / record["image"])
    assert image.get_data_dtype() == np.int16 and nib.aff2axcodes(image.affine) == ("P", "R", "S")
    assert np.asarray(image.dataobj).min() == -1024
    assert not list(tmp_path.rglob(".*"))  # nothing half-written


def test_an_organ_that_is_not_in_view_is_asked_for_as_absent(tmp_path):
    found = abdomenct_1k.find_cases(write_abdomenct_1k(tmp_path / "in", numbers=()))
    case = next(case for case in found.cases if case.case.endswith("219"))
    asked = CasePreparer(str(tmp_path), negatives=0.5)(case)["questions"]["test"]
    assert {q["type"] for q in asked if q["target"] == "spleen"} == {"H"}


def test_questions_of_a_data_set_are_asked_as_they_are(tmp_path):
    case = m3d_refseg.find_cases(write_m3d_refseg(tmp_path / "in")).cases[0]
    gone = {"query": "And this?", "label_values": [77], "target": "mask 77", "type": "reasoning"}
    case = case._replace(questions=(*case.questions, gone), names={**case.names, "mask 77": [77]})
    record = CasePreparer(str(tmp_path))(case)
    assert record["questions"]["training"] == list(case.questions[:2]) == record["questions"]["test"]
    assert record["dropped"]["test"] == [{"target": "mask 77", "reason": "the mask has no such value"}]
    label = nib.load(tmp_path / record["label"])
    assert np.array_equal(np.asarray(label.dataobj), np.asarray(nib.load(case.label).dataobj))
    assert [part["value"] for part in record["parts"]] == [1, 4]


def test_own_sentences_and_what_nobody_has_words_for(tmp_path):
    case = abdomenct_1k.find_cases(write_abdomenct_1k(tmp_path / "in", numbers=(1,))).cases[0]
    case = case._replace(names={"duct": [1], "vessel": [2, 3, 4]})
    sentences = {"C": [[f"what drains bile, {number}?"] for number in range(6)]}
    own = OwnTarget("duct", ("duct",), "none", (), sentences)
    record = CasePreparer(str(tmp_path), own_targets=[own])(case)
    texts = {split: {q["query"] for q in asked} for split, asked in record["questions"].items()}
    assert texts["test"] == {"what drains bile, 0?"} and texts["validation"] == {"what drains bile, 2?"}
    assert texts["training"] <= {f"what drains bile, {number}?" for number in (1, 3, 4, 5)}
    (dropped,) = record["dropped"]["test"]
    assert dropped["target"] == "vessel" and "queries_file" in dropped["reason"]

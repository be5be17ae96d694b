"""Datalists of real CT from folders of the shape that is described, and the table of their results."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from openkbp_datalist import openkbp_lists  # noqa: E402
from real_ct import COLUMNS, target_table  # noqa: E402
from totalsegmentator_datalist import LABEL_VALUES, totalsegmentator_list  # noqa: E402

ORGANS = {
    "brainstem": [1],
    "spinal cord": [2],
    "right parotid": [3],
    "left parotid": [4],
    "parotids": [3, 4],
    "esophagus": [5],
    "larynx": [6],
    "mandible": [7],
}


def save(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.array(values, dtype=np.int16)[None, None], np.eye(4)), path)


@pytest.fixture
def openkbp(tmp_path) -> Path:
    """Eight training patients and three of validation; pt002 lacks the left parotid and the larynx."""
    for name, patients in (("train", range(1, 9)), ("validation", range(201, 204))):
        for patient in patients:
            drawn = [1, 2, 3, 5, 7] if patient == 2 else range(1, 8)
            save(tmp_path / "openkbp" / name / f"pt{patient:03}_ct.nii.gz", [0, 1])
            save(tmp_path / "openkbp" / name / f"pt{patient:03}_oar.nii.gz", [0, *drawn])
    return tmp_path / "openkbp"


def read(lists) -> dict:
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in lists.items()}


def test_patients_are_in_one_list_each(openkbp, tmp_path):
    lists = read(openkbp_lists(openkbp, tmp_path / "lists", wordings=1, seed=0))
    patients = {name: {entry["patient"] for entry in entries} for name, entries in lists.items()}
    assert patients["test"] == {"pt201", "pt202", "pt203"}
    # Of eight in the order of their names the sixth.
    assert patients["development"] == {"pt006"}
    assert patients["train"] == {f"pt{n:03}" for n in (1, 2, 3, 4, 5, 7, 8)}
    groups = [{entry["paraphrase_group"] for entry in entries} for entries in lists.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_each_organ_is_asked_for_once_in_each_type(openkbp, tmp_path):
    lists = read(openkbp_lists(openkbp, tmp_path / "lists", wordings=1, seed=0))
    asked = [(e["target"], e["type"]) for e in lists["test"] if e["patient"] == "pt201"]
    assert sorted(asked) == sorted((target, kind) for target in ORGANS for kind in "ABCDEF")
    for entry in lists["test"]:
        assert entry["label_values"] == ORGANS[entry["target"]]
        assert Path(entry["image"]).is_file() and Path(entry["label"]).name == f"{entry['patient']}_oar.nii.gz"
    cases = [entry["case"] for entries in lists.values() for entry in entries]
    assert len(set(cases)) == len(cases)


def test_an_organ_without_a_contour_is_unknown(openkbp, tmp_path):
    lists = read(openkbp_lists(openkbp, tmp_path / "lists", wordings=2, seed=0))
    entries = [e for entries in lists.values() for e in entries if e["patient"] == "pt002"]
    assert {e["target"] for e in entries} == {"brainstem", "spinal cord", "right parotid", "esophagus", "mandible"}
    assert len(entries) == 2 * 5 * 6 and not any(e["type"] == "H" for e in entries)


def test_the_same_seed_gives_the_same_lists(openkbp, tmp_path):
    one, other, another = (
        read(openkbp_lists(openkbp, tmp_path / "lists", wordings=1, seed=seed)) for seed in (0, 0, 1)
    )
    assert one == other != another


def test_a_folder_without_patients(tmp_path):
    with pytest.raises(ValueError, match="train holds no .*_ct.nii.gz; give the folder that holds train and valid"):
        openkbp_lists(tmp_path, tmp_path / "lists", wordings=1, seed=0)


def test_totalsegmentator(tmp_path):
    save(tmp_path / "example_ct.nii.gz", [0])
    save(tmp_path / "example_seg_fast_force_split.nii.gz", [0, 5, 2, 14, 13, 21, 52, 27])
    entries = json.loads(totalsegmentator_list(tmp_path, tmp_path / "list.json", 1, 0).read_text(encoding="utf-8"))
    values = {entry["target"]: entry["label_values"] for entry in entries}
    # One kidney: "the kidneys" would need both; no left lung, so no "lungs".
    assert values == {"liver": [5], "right kidney": [2], "right lung": [13, 14], "bladder": [21], "bone": [27]}
    with pytest.raises(ValueError, match="holds no example_ct.nii.gz"):
        totalsegmentator_list(tmp_path / "list", tmp_path / "list.json", 1, 0)


def test_an_id_of_totalsegmentator_means_one_thing():
    values = [value for group in LABEL_VALUES.values() for value in group]
    assert len(set(values)) == len(values)


def test_table_golden():
    def row(target, dsc):
        return {"target": target} | dict.fromkeys(COLUMNS.values(), 0.0) | {"DSC": dsc}

    rows = [row("liver", 0.9), row("liver", 0.7), row("larynx", 0.2)]
    lines = [line.split(" | ") for line in target_table(rows, {"liver alone": ["liver", "spleen"]}).splitlines()]
    column = lines[0].index("DSC")
    # means 0.2 and 0.8; of all three 1.8 / 3; of the two targets (0.2 + 0.8) / 2
    assert [(line[0], line[1], line[column]) for line in lines[2:]] == [
        ("| larynx", "1", "0.200"),
        ("| liver", "2", "0.800"),
        ("| mean of all questions", "3", "0.600"),
        ("| **macro, all targets**", "2", "0.500"),
        ("| **liver alone**", "1", "0.800"),
    ]

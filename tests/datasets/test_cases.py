import json
from itertools import product

import nibabel as nib
import numpy as np
import pytest
from hostile_text import HOSTILE
from medvol_r1.datasets.cases import (
    CaseDataset,
    DatalistError,
    read_cases,
    read_datalist,
)
from medvol_r1.volume.query_text import QueryToMetad
from medvol_r1.volume.transforms import LoadVolumed
from monai.transforms import Compose


def write(folder, entries, name="datalist.json"):
    path = folder / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


def test_a_datalist_is_read_verbatim_and_relative_to_its_folder(tmp_path):
    entries = [{"image": "sub/ct.nii.gz", "query": text, "label": "/abs/label.nii"} for text in HOSTILE]
    cases = read_datalist(write(tmp_path, entries))
    assert [case["query"] for case in cases] == HOSTILE
    assert {case["image"] for case in cases} == {str(tmp_path / "sub/ct.nii.gz")}
    assert {case["label"] for case in cases} == {"/abs/label.nii"}


def test_case_names_default_to_the_file_and_are_unique(tmp_path):
    images = ["a/ct.nii.gz", "b/ct.nii.gz", "ct.nii", "x.y.nii.gz", "ct.nii.gz", "dir/"]
    entries = [{"image": image, "query": "q"} for image in images]
    entries[4]["case"] = "ct_2"
    names = [case["case"] for case in read_datalist(write(tmp_path, entries))]
    assert names == ["ct", "ct_3", "ct_4", "x.y", "ct_2", "dir"]


@pytest.mark.parametrize(
    "entries, message",
    [
        ("[", "datalist.json is not JSON in UTF-8: Expecting value"),
        ([], r'holds an empty list; give a JSON list of \{"image", "query"\} entries'),
        ({"testing": []}, "holds dict; give a JSON list"),
        (["ct.nii"], "entry 1 of .*datalist.json is 'ct.nii'; give an object"),
        ([{"image": "a", "query": "q"}, {"image": "a"}], 'entry 2 of .* has no "query"'),
        ([{"query": "q"}], 'entry 1 of .* has no "image"'),
        ([{"image": 3, "query": "q"}], '"image" of entry 1 of .* is 3; give a text'),
        ([{"image": "", "query": "q"}], "\"image\" of entry 1 of .* is ''"),
        ([{"image": "a", "query": "q", "label": None}], '"label" of entry 1 of .* is None'),
        ([{"image": "a", "query": "q", "case": "../a"}], "\"case\" of entry 1 of .* is '../a'; it names a folder"),
        ([{"image": "a", "query": "q", "case": ".."}], "is '..'; it names a folder"),
        ([{"image": "a", "query": "q", "case": "x" * 151}], "at most 150 characters"),
        ([{"image": f, "query": "q", "case": "one"} for f in "ab"], "the case name 'one' stands twice"),
    ],
)
def test_a_datalist_that_cannot_be_used_says_why(tmp_path, entries, message):
    with pytest.raises(DatalistError, match=message):
        read_datalist(write(tmp_path, entries))


def test_a_datalist_that_is_not_there_names_the_config_key(tmp_path):
    with pytest.raises(DatalistError, match=r"nowhere.json cannot be read: No such file.*config key `datalist`"):
        read_cases(datalist=tmp_path / "nowhere.json")


@pytest.mark.parametrize("text, form", product(HOSTILE, ("--query {}", "--query={}")))
def test_a_query_of_the_command_line_is_taken_from_the_arguments(text, form):
    first, _, rest = form.format("\0").partition("\0")
    query = ["--query", text] if first.endswith(" ") else [first + text]
    cases = read_cases(image="ct.nii.gz", arguments=["run", "--image", "$x/ct.nii.gz", *query])
    assert cases == [{"image": "$x/ct.nii.gz", "query": text, "case": "ct"}]


def test_half_a_command_line_is_an_error():
    with pytest.raises(DatalistError, match="there is an image and no query; add `--query TEXT`"):
        read_cases(image="ct.nii.gz", arguments=[])
    with pytest.raises(DatalistError, match="there is a query, 'liver', and no image; add `--image FILE`"):
        read_cases(arguments=["--query", "liver"])
    with pytest.raises(DatalistError, match="both `datalist` and `image`"):
        read_cases(datalist="a.json", image="ct.nii.gz", arguments=[])


def test_without_anything_a_labelled_phantom_is_written(tmp_path):
    cases = read_cases(demo_dir=tmp_path / "demo", arguments=[])
    assert [case["case"] for case in cases] == ["phantom_liver", "phantom_kidneys"]
    for case in cases:
        image, label = nib.load(case["image"]), nib.load(case["label"])
        assert image.shape == label.shape and np.array_equal(image.affine, label.affine)
        assert np.asarray(image.dataobj).min() < -900
        assert set(np.unique(label.dataobj)) == {0, 1}
    # The list it wrote is one that a user can take as a pattern.
    assert read_cases(datalist=tmp_path / "demo" / "datalist.json") == cases


def test_one_bad_case_becomes_a_record_and_the_others_are_prepared(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5) - 30, np.eye(4)), tmp_path / "a.nii.gz")
    good = str(tmp_path / "a.nii.gz")
    cases = [
        {"image": str(tmp_path / "missing.nii.gz"), "query": "liver", "case": "no_file"},
        {"image": good, "query": "liver", "case": "good"},
        {"image": good, "query": " ", "case": "no_text"},
        {"image": good, "query": "x" * 10_000, "case": "long"},
        {"image": good, "query": {"a": 1}, "case": "object"},
        {"image": good, "query": None, "case": "null"},
    ]
    items = list(CaseDataset(cases, Compose([LoadVolumed("image"), QueryToMetad()])))
    assert items[1]["image"].shape == (1, 3, 4, 5) and "failure" not in items[1]
    reasons = {item["case"]: item["failure"]["reason"] for item in items if "failure" in item}
    assert reasons == {
        "no_file": "missing_file",
        "no_text": "empty_query",
        "long": "query_too_long",
        "object": "not_text",
        "null": "missing_query",
    }
    assert "missing.nii.gz does not exist" in items[0]["failure"]["message"]
    assert "10000 characters, at most 2000" in items[3]["failure"]["message"]

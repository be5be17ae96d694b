from itertools import product

import nibabel as nib
import numpy as np
import pytest
from hostile_text import HOSTILE
from medvol_r1.datasets.cases import CaseDataset, read_cases
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.volume.query_text import QueryToMetad
from medvol_r1.volume.transforms import LoadVolumed
from monai.transforms import Compose


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
    with pytest.raises(DatalistError, match="nothing to do; give `datalist`, or `image` and a query"):
        read_cases(arguments=[])


def test_the_demo_is_written_only_when_nothing_was_given():
    def demo():
        raise AssertionError("called")

    read_cases(image="ct.nii.gz", demo=demo, arguments=["--query", "liver"])
    with pytest.raises(DatalistError):
        read_cases(datalist="absent.json", demo=demo, arguments=[])
    with pytest.raises(DatalistError):
        read_cases(demo=demo, arguments=["--query", "liver"])
    with pytest.raises(AssertionError, match="called"):
        read_cases(demo=demo, arguments=[])


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

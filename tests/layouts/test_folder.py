import json

import pytest
from medvol_r1.layouts.folder import find_cases
from medvol_r1.layouts.found_cases import LayoutError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def table(folder, content, name="labels.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_images_beside_labels(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "images/b.nii", "labels/a.nii.gz", "labels/b.nii.gz", "labels/c.nii.gz")
    table(tmp_path, {"liver": 1, "kidney": [2, 3]})
    found = find_cases(tmp_path)
    assert [(case.case, case.split) for case in found.cases] == [("a", None), ("b", None)]
    assert found.cases[0].names == {"liver": [1], "kidney": [2, 3]}
    assert [(left.case, left.reason) for left in found.left_out] == [("c", "no_image")]


@pytest.mark.parametrize(
    "labels", [{"background": 0, "liver": 1, "tumor": 2}, {"0": "background", "1": "liver", "2": "tumor"}]
)
@pytest.mark.parametrize("suffix", ["", "_0000"])
def test_folders_of_nnunet_and_the_decathlon(labels, suffix, tmp_path):
    touch(tmp_path, f"imagesTr/a{suffix}.nii.gz", "labelsTr/a.nii.gz", f"imagesTs/b{suffix}.nii.gz")
    table(tmp_path, {"name": "X", "labels": labels}, "dataset.json")
    found = find_cases(tmp_path)
    assert [(case.case, case.split) for case in found.cases] == [("a", None)]  # a test part without labels is no split
    assert found.cases[0].names == {"liver": [1], "tumor": [2]} and found.left_out == []
    touch(tmp_path, "labelsTs/b.nii.gz")
    assert [case.split for case in find_cases(tmp_path).cases] == ["training", "test"]


def test_a_table_elsewhere(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    table(tmp_path, {"spleen": 7}, "mine.json")
    assert find_cases(tmp_path, tmp_path / "mine.json").cases[0].names == {"spleen": [7]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no table of label values"),
        ("{", "is not JSON"),
        ([1], "holds no table"),
        ({}, "has no label"),
        ({"liver": "one"}, "has 'liver': 'one'"),
        ({"liver": -1}, "has 'liver': -1"),
        ({"liver": 1.0}, "has 'liver': 1.0"),
        ({"liver": 1, "spleen": [1, 2]}, r"has the values \[1\] under several names"),
    ],
)
def test_a_table_that_cannot_be_used(content, told, tmp_path):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    if content is not None:
        table(tmp_path, content)
    with pytest.raises(LayoutError, match=told) as caught:
        find_cases(tmp_path)
    assert caught.value.reason == "bad_table"


def test_a_folder_of_something_else(tmp_path):
    touch(tmp_path, "ct/a.nii.gz")
    with pytest.raises(LayoutError, match=r"holds ct/a.nii.gz. Expected: images/NAME.nii.gz and labels/NAME.nii.gz"):
        find_cases(tmp_path)

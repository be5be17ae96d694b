import json

import pytest
from medvol_r1.layouts.found_cases import LayoutError
from medvol_r1.layouts.m3d_seg import find_cases
from miniature_data_sets import write_m3d_seg


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("start", ["", "M3D_Seg", "M3D_Seg/0003"])
def test_both_layouts_from_each_folder(older, start, tmp_path):
    write_m3d_seg(tmp_path, older=older)
    found = find_cases(tmp_path / start)
    splits = {case.case: case.split for case in found.cases}
    names = [f"m3d_0003_case_{number:05}" for number in range(4)]
    assert splits == dict(zip(names, ["training"] * 3 + ["test"], strict=True)) and found.left_out == []
    assert found.cases[0].names == {"liver": [1], "kidney": [2], "spleen": [3], "pancreas": [4]}
    assert found.cases[0].axes is None


def test_paths_may_start_at_the_folder_of_a_code_or_above_all(tmp_path):
    write_m3d_seg(tmp_path, code="0004", numbers=(0, 1))
    path = tmp_path / "M3D_Seg" / "0004" / "0004.json"
    content = json.loads(path.read_text())
    content["train"][0] = {key: value.removeprefix("0004/") for key, value in content["train"][0].items()}
    content["test"][0] = {key: f"M3D_Seg/{value}" for key, value in content["test"][0].items()}
    path.write_text(json.dumps(content))
    found = find_cases(tmp_path)
    assert len(found.cases) == 2 and {case.axes for case in found.cases} == {"IPL"}


def test_what_is_listed_and_missing_or_listed_twice_is_left_out(tmp_path):
    write_m3d_seg(tmp_path)
    path = tmp_path / "M3D_Seg" / "0003" / "0003.json"
    content = json.loads(path.read_text())
    content["test"].append(content["train"][1])
    path.write_text(json.dumps(content))
    (tmp_path / "M3D_Seg" / "0003" / "case_00000" / "image.npy").unlink()
    found = find_cases(tmp_path)
    told = [(left.case, left.reason) for left in found.left_out]
    assert told == [("m3d_0003_case_00000", "no_image"), ("m3d_0003_case_00001", "duplicate_case")]
    # Of a case that is listed on two sides nobody knows which is meant.
    assert "m3d_0003_case_00001" not in [case.case for case in found.cases]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "0003.json is not JSON"),
        ("{}", "has neither `train` nor `test`"),
        ('{"train": [{"image": "a"}]}', "in `train`; need"),
        ('{"train": [], "test": 3}', "has neither `train` nor `test`"),
    ],
)
def test_a_list_that_cannot_be_read(text, told, tmp_path):
    (tmp_path / "0003.json").write_text(text)
    with pytest.raises(LayoutError, match=told) as caught:
        find_cases(tmp_path)
    assert caught.value.reason == "bad_table"


def test_codes_of_other_data_sets_are_not_read(tmp_path):
    (tmp_path / "0001.json").write_text("{}")
    with pytest.raises(LayoutError, match="one or several of the codes 0003, 0004, 0012"):
        find_cases(tmp_path)

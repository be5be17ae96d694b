import pytest
from medvol_r1.layouts.found_cases import LayoutError
from medvol_r1.layouts.m3d_refseg import find_cases
from miniature_data_sets import write_m3d_refseg


def test_questions_come_with_their_cases(tmp_path):
    found = find_cases(write_m3d_refseg(tmp_path))
    assert {case.case: case.split for case in found.cases} == {
        "m3d_refseg_s0002": "test",
        "m3d_refseg_s0000": "training",
        "m3d_refseg_s0001": "training",
    }
    first = found.cases[0]
    assert first.image.name == "ct.nii.gz" and first.names == {"mask 1": [1], "mask 4": [4]}
    assert first.questions[0] == {
        "query": "Where is the large organ?", "label_values": [1], "target": "mask 1", "type": "description",
    }  # fmt: skip
    assert first.questions[1]["type"] == "reasoning" and first.questions[1]["label_values"] == [4]


def test_a_table_of_everything_beside_its_parts_asks_nothing_twice(tmp_path):
    write_m3d_refseg(tmp_path)
    parts = [path.read_text() for path in sorted(tmp_path.glob("*.csv"))]
    (tmp_path / "M3D_RefSeg.csv").write_text(parts[0] + parts[1].split("\n", 1)[1])
    found = find_cases(tmp_path)
    assert [len(case.questions) for case in found.cases] == [2, 2, 2]
    assert sorted(str(case.split) for case in found.cases) == ["test", "training", "training"]


def test_a_missing_volume_is_left_out(tmp_path):
    write_m3d_refseg(tmp_path)
    (tmp_path / "s0001" / "mask.nii.gz").unlink()
    found = find_cases(tmp_path)
    assert [(left.case, left.reason) for left in found.left_out] == [("m3d_refseg_s0001", "no_label")]


@pytest.mark.parametrize("cells", ["0,0,Where?", "1.5,0,Where?", ",0,Where?", "1,2,Where?", "1,0,  "])
def test_a_row_that_cannot_be_read_is_named(cells, tmp_path):
    header = "Image,Mask,Mask_ID,Question_Type,Question,Answer\n"
    (tmp_path / "refseg.csv").write_text(f"{header}s0/ct.nii.gz,s0/mask.nii.gz,{cells},It is.\n")
    with pytest.raises(LayoutError, match="row 2 of .*refseg.csv has Mask_ID") as caught:
        find_cases(tmp_path)
    assert caught.value.reason == "bad_table"


def test_another_table_is_no_table_of_questions(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LayoutError, match="holds other.csv. Expected: a CSV with the columns Image, Mask, Mask_ID"):
        find_cases(tmp_path)

import pytest
from medvol_r1.layouts.ct_org import NAMES, find_cases
from medvol_r1.layouts.found_cases import LayoutError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("prefix", [("", ""), ("volumes/", "labels/"), ("CT-ORG/OrganSegmentations/",) * 2])
def test_the_official_test_part_is_0_to_20(prefix, tmp_path):
    for number in (0, 20, 21, 139):
        touch(tmp_path, f"{prefix[0]}volume-{number}.nii.gz", f"{prefix[1]}labels-{number}.nii.gz")
    found = find_cases(tmp_path)
    splits = {case.case: case.split for case in found.cases}
    assert splits == {"ct_org_0": "test", "ct_org_20": "test", "ct_org_21": "training", "ct_org_139": "training"}
    assert found.left_out == [] and found.released == 140
    assert found.cases[0].names == NAMES and found.cases[0].label.name == "labels-0.nii.gz"


def test_a_case_that_is_there_twice_is_left_out(tmp_path):
    for number in (3, 4):
        touch(tmp_path, f"volume-{number}.nii.gz", f"labels-{number}.nii.gz")
    touch(tmp_path, "copy/volume-3.nii.gz")
    found = find_cases(tmp_path)
    assert [case.case for case in found.cases] == ["ct_org_4"]
    assert found.left_out[0].reason == "duplicate_case" and "copy/volume-3.nii.gz" in found.left_out[0].message


def test_another_data_set_is_refused(tmp_path):
    touch(tmp_path, "case_00000/imaging.nii.gz")
    with pytest.raises(LayoutError, match="holds case_00000/imaging.nii.gz. Expected: volume-N.nii.gz"):
        find_cases(tmp_path)

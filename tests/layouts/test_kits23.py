import pytest
from medvol_r1.layouts.found_cases import LayoutError
from medvol_r1.layouts.kits23 import find_cases


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("dataset/case_{}/imaging.nii.gz", "dataset/case_{}/segmentation.nii.gz"),
        ("case_{}/imaging.nii.gz", "case_{}/segmentation.nii.gz"),
        ("images/case_{}.nii.gz", "labels/case_{}.nii.gz"),
        ("images/case_{}.nii.gz", "segmentations/case_{}.nii.gz"),
        ("images/case_{}.nii.gz", "dataset/case_{}/segmentation.nii.gz"),
    ],
)
def test_both_layouts(image, label, tmp_path):
    touch(tmp_path, *(name.format(number) for number in ("00000", "00588") for name in (image, label)))
    # Annotations of single readers lie beside the segmentation; they are not label maps of a case.
    touch(tmp_path, "dataset/case_00000/instances/kidney_instance-1_annotation-1.nii.gz")
    found = find_cases(tmp_path)
    assert [case.case for case in found.cases] == ["kits23_00000", "kits23_00588"]
    assert found.left_out == [] and {case.split for case in found.cases} == {None}


def test_a_clone_without_its_images_is_half_a_download(tmp_path):
    touch(tmp_path, "dataset/case_00000/segmentation.nii.gz", "dataset/case_00001/segmentation.nii.gz")
    with pytest.raises(LayoutError, match="2 cases of which none is complete.*kits23_download_data") as caught:
        find_cases(tmp_path)
    assert caught.value.reason == "half_download"


def test_an_image_that_is_not_downloaded_yet_is_left_out(tmp_path):
    touch(tmp_path, *(f"case_00000/{kind}.nii.gz" for kind in ("imaging", "segmentation")))
    touch(tmp_path, "case_00001/segmentation.nii.gz")
    found = find_cases(tmp_path)
    assert [(left.case, left.reason) for left in found.left_out] == [("kits23_00001", "no_image")]

from medvol_r1.layouts.abdomenct_1k import WRONG_SPACING, find_cases


def test_images_and_masks_in_folders_of_their_own(tmp_path):
    for folder, names in {
        "ImagePart1": ["Case_00001_0000.nii.gz", "Case_00078_0000.nii.gz"],
        "ImagePart2": ["Case_00701_0000.nii.gz"],
        "Mask": ["Case_00001.nii.gz", "Case_00078.nii.gz", "Case_00002.nii.gz"],
    }.items():
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).touch()
    found = find_cases(tmp_path)
    told = {case.case: (case.spacing_is_doubted, case.split) for case in found.cases}
    assert told == {"abdomenct_1k_00001": (False, None), "abdomenct_1k_00078": (True, None)}
    left_out = [(left.case, left.reason) for left in found.left_out]
    assert left_out == [("abdomenct_1k_00002", "no_image"), ("abdomenct_1k_00701", "no_label")]


def test_the_cases_of_wrong_spacing_are_those_of_the_public_report():
    assert len(WRONG_SPACING) == 1 + 13 + 1 + 5
    assert {78, 273, 278, 280, 286, 462, 574, 578} <= WRONG_SPACING and not {279, 287, 579} & WRONG_SPACING

import re
from pathlib import Path

import pytest
from medvol_r1.layouts.found_cases import (
    LAYOUT_FAILURES,
    Found,
    LayoutError,
    checked_folder,
    files_by_id,
    paired,
    refuse_if_nothing,
)


def refused(folder, names, found=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.raises(LayoutError) as caught:
        refuse_if_nothing(found or Found([], []), folder, "images/NAME.nii.gz")
    assert caught.value.reason in LAYOUT_FAILURES
    assert str(folder) in str(caught.value) and "images/NAME.nii.gz" in str(caught.value)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("names", "reason", "told"),
    [
        ([], "wrong_folder", "holds no files"),
        (["readme.txt", "a/b.dcm"], "wrong_folder", "holds a/b.dcm, readme.txt"),
        (["ct.zip.001", "ct.zip.002"], "split_archive", "ct.zip.001, ct.zip.002"),
        (["ct.z01", "ct.zip"], "split_archive", "join and unpack"),
        (["ct.7z.001"], "split_archive", "7z x"),
        (["ct.tar.gz.aa"], "split_archive", "parts of a split archive"),
        (["ct.tar.gz"], "packed_archive", "unpack it first"),
        (["ct.zip.part"], "half_download", "a download is not finished"),
        (["ct.zip", "ct2.zip.crdownload"], "half_download", "ct2.zip.crdownload"),
    ],
)
def test_an_unusable_folder_says_what_it_holds_and_what_to_do(names, reason, told, tmp_path):
    found = refused(tmp_path, names)
    assert found[0] == reason and told in found[1]


def test_many_files_are_not_all_named(tmp_path):
    assert "and 4 more" in refused(tmp_path, [f"{n}.txt" for n in range(10)])[1]


def test_one_half_of_every_case_is_half_a_download(tmp_path):
    _, left_out = paired({}, {"1": [Path("labels-1.nii")]}, "case_")
    reason, message = refused(tmp_path, ["labels-1.nii"], Found([], left_out))
    assert reason == "half_download" and "labels-1.nii has no image" in message


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(LayoutError, match="give `dataset_dir` the one with some files") as caught:
        checked_folder(tmp_path / "none", "some files")
    assert caught.value.reason == "wrong_folder"


def test_images_and_labels_are_paired_by_id():
    images = files_by_id([Path("b/i-2"), Path("i-1"), Path("i-2"), Path("i-3"), Path("other")], re.compile(r"i-(\d)"))
    labels = files_by_id([Path("l-1"), Path("l-2"), Path("l-4")], re.compile(r"l-(\d)"))
    pairs, left_out = paired(images, labels, "case_")
    assert pairs == {"1": (Path("i-1"), Path("l-1"))}
    assert [(left.case, left.reason) for left in left_out] == [
        ("case_2", "duplicate_case"),
        ("case_3", "no_label"),
        ("case_4", "no_image"),
    ]
    assert "b/i-2, i-2 are the same case; remove all but one" in left_out[0].message

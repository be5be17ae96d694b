import os

import numpy as np
import pytest
from medvol_r1.command_line.asked_cases import asked_cases, images_in


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_all_queries_of_an_image_stand_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a.nii.gz")
    entries = asked_cases(["b.nii", "a.nii.gz", "./b.nii"], ["q", "r", "q"])
    assert [(os.path.relpath(entry["image"]), entry["query"], entry["case"]) for entry in entries] == [
        ("b.nii", "q", "b"),
        ("b.nii", "r", "b_2"),
        ("b.nii", "q", "b_3"),
        ("a.nii.gz", "q", "a"),
        ("a.nii.gz", "r", "a_2"),
        ("a.nii.gz", "q", "a_3"),
    ]


def test_images_of_one_name_are_told_apart_by_their_folders():
    entries = asked_cases(["/p/1/ct.nii.gz", "/p/2/ct.nii.gz", "/p/ct_2.nii.gz"], ["q"])
    assert [entry["case"] for entry in entries] == ["1_ct", "2_ct", "p_ct_2"]


def test_names_that_become_alike_are_numbered():
    entries = asked_cases(["/p/a:b.nii", "/p/a?b.nii"], ["q"])
    assert [entry["case"] for entry in entries] == ["a_b", "a_b_2"]


def test_a_long_name_with_its_number_is_legal():
    entries = asked_cases([f"/p/{'x' * 200}.nii"], ["q", "r"])
    assert [entry["case"] for entry in entries] == ["x" * 140, "x" * 140 + "_2"]


def test_a_folder_means_the_volumes_in_it(tmp_path):
    wanted = [touch(tmp_path / name) for name in ("B.NII.GZ", "a.nii", "c.nii.gz")]
    for other in ("notes.txt", ".hidden.nii.gz", "deeper/d.nii.gz"):
        touch(tmp_path / other)
    assert images_in(str(tmp_path)) == wanted
    assert [entry["case"] for entry in asked_cases([str(tmp_path)], ["q"])] == ["B", "a", "c"]


def test_a_folder_of_pictures_means_each_of_them_and_dicom_goes_before(tmp_path):
    wanted = [touch(tmp_path / name) for name in ("a.png", "b.JPG")]
    for other in ("notes.txt", ".hidden.png", "deeper/d.png"):
        touch(tmp_path / other)
    assert images_in(str(tmp_path)) == wanted
    images = pytest.importorskip("dicom_images", reason="needs the extra `dicom`")
    images.write_dicom(tmp_path / "mr.dcm", np.arange(48, dtype=np.uint16).reshape(6, 8))
    assert images_in(str(tmp_path)) == [str(tmp_path)], "who reads it says what is missing"


def test_a_folder_of_nothing_is_named_itself(tmp_path):
    assert images_in(str(tmp_path)) == [str(tmp_path)]


def test_a_folder_of_several_series_means_each_of_them(tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    for patient in ("1", "2"):
        files.write_series(tmp_path / patient / "ct", series=f"1.2.{patient}")
    entries = asked_cases([str(tmp_path)], ["q"])
    assert [entry["image"] for entry in entries] == [str(tmp_path / patient / "ct") for patient in ("1", "2")]
    assert [entry["case"] for entry in entries] == ["1_ct", "2_ct"]
    assert images_in(str(tmp_path / "1")) == [str(tmp_path / "1")], "one series: the folder, as before"

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.command_line.case_configs import OF_IMAGES, OF_VOLUMES, lists_by_configs
from PIL import Image


def configs_of(path, folder):
    (configs,) = lists_by_configs([{"image": str(path)}], folder)
    return configs


def test_the_lists_hold_their_cases_wherever_they_lie(tmp_path, monkeypatch):
    Image.new("L", (3, 2)).save(tmp_path / "scan.png")
    monkeypatch.chdir(tmp_path)
    volume = {"image": "ct.nii.gz", "query": "q", "label": "label.nii.gz", "case": "a"}
    image = {"image": "scan.png", "query": "$q", "type": "x", "case": "b"}
    (tmp_path / "lists").mkdir()
    lists = lists_by_configs([image, volume, image | {"case": "c"}], tmp_path / "lists")
    read = {configs: json.loads(Path(path).read_text(encoding="utf-8")) for configs, path in lists.items()}
    image["image"] = str(tmp_path / "scan.png")
    there = {"image": str(tmp_path / "ct.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    assert read == {OF_IMAGES: [image, image | {"case": "c"}], OF_VOLUMES: [volume | there]}


def test_what_cannot_be_opened_is_a_volume_whose_reader_says_why(tmp_path):
    (tmp_path / "empty").touch()
    assert {configs_of(tmp_path / name, tmp_path) for name in ("absent.png", "empty", ".")} == {OF_VOLUMES}


def test_a_nifti_of_one_slice_is_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(16, dtype=np.int16).reshape(4, 4, 1), np.eye(4)), tmp_path / "slice.nii.gz")
    assert configs_of(tmp_path / "slice.nii.gz", tmp_path) == OF_VOLUMES


def test_a_dicom_image_that_is_no_ct_is_a_single_image_and_a_file_of_a_ct_its_series(tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    images = pytest.importorskip("dicom_images")
    hand = images.write_dicom(tmp_path / "hand.dcm", np.arange(48, dtype=np.uint16).reshape(6, 8))
    files.write_series(tmp_path / "series")
    assert configs_of(hand, tmp_path) == OF_IMAGES
    assert configs_of(tmp_path / "series" / files.file_of(0), tmp_path) == OF_VOLUMES

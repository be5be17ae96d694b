import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from answered_cases import AFFINE, SHAPE, geometry_meta, nine_voxels, record_of, write_volume
from medvol_r1.service.export import ENDINGS, export, exports, source_mask
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.study import Study
from medvol_r1.volume.geometry import SliceGeometry
from nibabel.orientations import apply_orientation


@pytest.fixture
def study(tmp_path):
    path = write_volume(tmp_path)
    geometry = SliceGeometry.from_meta(geometry_meta())
    study = Study("id", "owner", "ct.nii.gz", path, ("ct",), geometry)
    study.add("liver", "question", record_of(image=str(path)), apply_orientation(nine_voxels(), geometry.orientation))
    return study


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "export").mkdir()
    return tmp_path / "export"


def test_a_seg_is_offered_for_a_series_alone(study, tmp_path):
    assert exports(study) == ["nifti", "evidence", "picture"]
    study.path = tmp_path
    assert exports(study) == list(ENDINGS)


def test_nifti_lies_on_the_grid_of_the_study(study, folder):
    path = export(study, study.mask("liver"), "nifti", folder)
    written = nib.load(path)
    assert np.array_equal(written.affine, AFFINE) and written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), nine_voxels())


def test_the_evidence_does_not_tell_where_the_volume_lies(study, folder, tmp_path):
    text = export(study, study.mask("liver"), "evidence", folder).read_text(encoding="utf-8")
    assert json.loads(text)["image"] == "ct.nii.gz" and json.loads(text)["query"] == "the liver"
    assert str(tmp_path) not in text


def test_a_picture_is_drawn(study, folder):
    assert export(study, study.mask("liver"), "picture", folder).read_bytes().startswith(b"\x89PNG")


def test_there_is_no_seg_of_nifti_and_no_other_format(study, folder):
    for form, expected in (("dicom_seg", "not_dicom"), ("nrrd", "unknown_format"), ("../x", "unknown_format")):
        with pytest.raises(ServiceError) as caught:
            export(study, study.mask("liver"), form, folder)
        assert caught.value.reason == expected
    assert list(folder.iterdir()) == []


def test_a_series_becomes_a_seg(folder, tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    import highdicom

    files.write_series(tmp_path / "series", np.resize(files.ct_values(), SHAPE), files.affine_of())
    geometry = SliceGeometry.from_meta(geometry_meta(files.affine_of()))
    study = Study("id", "owner", "series", tmp_path / "series", ("s",), geometry)
    record = record_of(image=str(tmp_path / "series"))
    study.add("liver", "question", record, apply_orientation(nine_voxels(), geometry.orientation))
    seg = highdicom.seg.segread(export(study, study.mask("liver"), "dicom_seg", folder))
    assert seg.get_segment_description(1).segment_label == "liver"
    assert seg.pixel_array.sum() == 9


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_masks_go_back_to_any_order_of_voxels(order):
    rng = np.random.default_rng(0)
    for flips in itertools.product((1, -1), repeat=3):
        source = rng.random((3, 4, 5)) > 0.5
        orientation = np.stack([order, flips], axis=1)
        assert np.array_equal(source_mask(apply_orientation(source, orientation), orientation), source)


def test_every_format_has_an_ending_of_the_reports():
    from medvol_r1.report.case_files import FORMATS

    assert set(ENDINGS.values()) <= set(FORMATS)

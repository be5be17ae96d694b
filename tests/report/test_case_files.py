import json

import nibabel as nib
import numpy as np
import pytest
from answered_cases import AFFINE, SHAPE, answered_case, geometry_meta, record_of
from medvol_r1.report.case_files import FORMATS, AnsweredCase, remove_case, write_case, write_mask
from medvol_r1.volume.geometry import SliceGeometry

AGREEMENT = np.full((4, 10, 12), 0.5, np.float32)
# What a NIfTI volume can have; of DICOM: test_dicom_seg.
OF_NIFTI = [ending for ending in FORMATS if ending != "seg.dcm"]


def oblique():
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 0.8, 3.3])
    affine[:3, 3] = [-100.25, 33.3, 1234.5]
    return affine


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1)])
def test_a_mask_is_written_on_the_grid_of_its_volume(tmp_path, codes, shape):
    source = nib.Nifti1Image(np.zeros(shape, np.int16), oblique())
    source.header.set_slope_inter(2, -1024)
    source.set_sform(oblique(), code=codes[0])
    source.set_qform(oblique(), code=codes[1])
    nib.save(source, tmp_path / "ct.nii.gz")
    mask = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    record = record_of(image=str(tmp_path / "ct.nii.gz"))
    geometry = SliceGeometry.from_meta(geometry_meta())
    write_mask(AnsweredCase(name="a", record=record, mask=mask, geometry=geometry), tmp_path / "mask.nii.gz")
    written, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "ct.nii.gz")
    assert written.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(written.dataobj), mask)
    assert np.array_equal(written.affine, source.affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == codes
    np.testing.assert_array_equal(written.header.get_zooms()[:3], source.header.get_zooms()[:3])


def test_every_format_is_written_under_the_name_of_the_case(tmp_path):
    write_case(answered_case(tmp_path, agreement_map=AGREEMENT), tmp_path / "out", OF_NIFTI)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"a_{ending}" for ending in OF_NIFTI}
    agreement = nib.load(tmp_path / "out" / "a_agreement.nii.gz")
    assert agreement.get_data_dtype() == np.float32 and np.array_equal(agreement.affine, AFFINE)
    # Shown are the slices 0, 2, 4, 6 of 0..7: nothing was seen of the last one.
    values = np.asarray(agreement.dataobj)
    assert values.shape == SHAPE and (values[..., :7] == 0.5).all() and not values[..., 7].any()
    assert json.loads((tmp_path / "out" / "a_evidence.json").read_text())["query"] == "the liver"


def test_the_volume_is_opened_once(tmp_path, monkeypatch):
    case = answered_case(tmp_path, agreement_map=AGREEMENT)
    opened, load = [], nib.load
    monkeypatch.setattr(nib, "load", lambda path: opened.append(path) or load(path))
    write_case(case, tmp_path / "out", OF_NIFTI)
    assert len(opened) == 1


def test_what_is_not_written_now_is_not_left_from_before(tmp_path):
    folder = tmp_path / "out"
    write_case(answered_case(tmp_path, agreement_map=AGREEMENT), folder, OF_NIFTI)
    (folder / "notes.txt").write_text("not ours")
    write_case(answered_case(tmp_path), folder, ["mask.nii.gz"])
    assert {path.name for path in folder.iterdir()} == {"a_mask.nii.gz", "notes.txt"}
    remove_case("a", folder)
    remove_case("a", tmp_path / "nowhere")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_map_that_there_is_not_names_the_keys(tmp_path):
    with pytest.raises(ValueError, match="'a' has no map of agreement .*`num_anchors`, `save_agreement`"):
        write_case(answered_case(tmp_path), tmp_path / "out", ["agreement.nii.gz"])

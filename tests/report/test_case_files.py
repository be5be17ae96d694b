import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from answered_cases import AFFINE, SHAPE, answered_case, geometry_meta, record_of
from medvol_r1.images.picture_file import read_picture
from medvol_r1.report.case_files import FORMATS, AnsweredCase, remove_case, write_case, write_mask
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps
from medvol_r1.volume.io import LoadVolumed
from PIL import ExifTags, Image

AGREEMENT = np.full((4, 10, 12), 0.5, np.float32)
# What a NIfTI volume can have; of DICOM: test_dicom_seg.
OF_NIFTI = [ending for ending in FORMATS if ending not in ("seg.dcm", "mask.png")]


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


# Single images ------------------------------------------------------------------------------------------------------


def picture_case(folder, pixels, orientation, **changes):
    """A case about a picture of 20 rows and 30 columns, with four pixels of its second row marked."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(folder / "a.jpg", exif=exif)
    stored = read_picture(folder / "a.jpg")
    geometry = SliceGeometry(stored.shape, stored.affine, orientation_to_lps(stored.affine), np.array([0]))
    mask = np.zeros(stored.shape, np.uint8)
    mask[3:7, 1] = 1
    said = {"key_slice": 1, "slices_shown": 1, "volume_ml": None}
    record = record_of(image=str(folder / "a.jpg")) | said
    return AnsweredCase(name="a", record=record, mask=mask, geometry=geometry, window=(0, 255), **changes)


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_mask_of_a_picture_is_a_picture_on_its_stored_grid(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    case = picture_case(tmp_path, pixels, orientation)
    write_case(case, tmp_path, ["mask.png", "mask.nii.gz"])
    written = read_picture(tmp_path / "a_mask.png", is_label=True)
    expected = np.zeros((20, 30))
    expected[1, 3:7] = 255
    assert np.array_equal(written.pixels[0], expected) and written.orientation == orientation
    nifti = nib.load(tmp_path / "a_mask.nii.gz")
    assert np.array_equal(np.asarray(nifti.dataobj), case.mask)
    np.testing.assert_allclose(nifti.affine, case.geometry.source_affine)
    # Both are labels of their picture: they lie on it.
    for name in ("a_mask.png", "a_mask.nii.gz"):
        paths = {"image": tmp_path / "a.jpg", "label": tmp_path / name}
        assert LoadVolumed(("image", "label"), intensity="full_range")(paths)["label"].sum() in (4, 4 * 255)


def test_a_volume_has_no_mask_png(tmp_path):
    with pytest.raises(ValueError, match="is no picture, so there is no mask.png"):
        write_case(answered_case(tmp_path), tmp_path, ["mask.png"])


@pytest.mark.parametrize("colour", [False, True])
def test_the_evidence_of_a_picture_is_drawn_in_its_colours(tmp_path, colour):
    pixels = np.full((20, 30), 100, np.uint8)
    pixels[:, 15:] = 200
    if colour:
        pixels = np.stack([pixels, pixels // 2, pixels // 4], axis=-1)
    case = picture_case(tmp_path, pixels, 1)
    assert case.channels.shape == ((30, 20, 1, 3) if colour else (30, 20, 1))
    write_case(case, tmp_path, ["evidence.png"])
    drawn = np.asarray(Image.open(tmp_path / "a_evidence.png").convert("RGB")).reshape(-1, 3).astype(int)
    wanted = (200, 100, 50) if colour else (200, 200, 200)
    share = (abs(drawn - wanted).max(axis=1) < 8).mean()
    assert share > 0.1, "half of the picture has this colour"


def test_a_dicom_image_is_drawn_and_its_mask_is_nifti(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra `dicom`")
    from dicom_images import write_dicom

    path = write_dicom(tmp_path / "a.dcm", np.arange(600, dtype=np.uint16).reshape(20, 30))
    case = picture_case(tmp_path, np.zeros((20, 30), np.uint8), 1)
    case = replace(case, record=case.record | {"image": str(path)})
    assert case.series is None and not case.is_picture and case.channels[29, 19, 0] == 599
    write_case(case, tmp_path, ["mask.nii.gz", "evidence.png"])
    assert nib.load(tmp_path / "a_mask.nii.gz").shape == (30, 20, 1)

"""DICOM SEG: opened by pydicom and by highdicom, its frames lie where the mask lies."""

import json
from collections import namedtuple
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from answered_cases import answered_case, evidence, geometry_meta
from dicom_files import PATIENT, affine_of, ct_values, file_of, write_enhanced, write_series
from medvol_r1.report import dicom_seg as module
from medvol_r1.report.case_files import FORMATS, AnsweredCase, write_case
from medvol_r1.report.case_writer import CaseWriter
from medvol_r1.report.dicom_seg import VERSION, dicom_seg, label_of
from medvol_r1.report.evidence_record import evidence_record
from medvol_r1.volume.dicom_series import find_series
from medvol_r1.volume.geometry import SliceGeometry
from medvol_r1.volume.io import read_volume
from monai.data import MetaTensor
from nibabel.affines import apply_affine
from pydicom import dcmread

highdicom = pytest.importorskip("highdicom", reason="needs the extra `dicom`")

GEOMETRIES = {
    "plain": affine_of(),
    "feet last": affine_of(flip_z=True),
    "oblique": affine_of(turn_degrees=20),
    "tilted gantry": affine_of(tilt_degrees=18),
}
LPS = np.array([-1, -1, 1])


def a_mask(shape=(12, 10, 6)):
    """In slices 1, 2 and 4 only."""
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 1:7, 1] = mask[3:9, 2:4, 2] = mask[0, 9, 4] = 1
    return mask


def case_of(folder, mask=None, query="the organ that makes bile", **changes):
    """An answered case about the series in a folder."""
    mask = a_mask() if mask is None else mask
    meta = geometry_meta(read_volume(folder)[1], mask.shape, (0, 2, 4)) | {"filename_or_obj": str(folder)}
    record = evidence_record(evidence(), mask, meta, query=query, weights={})
    return AnsweredCase(name="a", record=record, mask=mask, geometry=SliceGeometry.from_meta(meta), **changes)


def marked_in_mm(affine, mask):
    """Places of the marked voxels, LPS mm, sorted."""
    places = apply_affine(affine, np.argwhere(mask)) * LPS
    return places[np.lexsort(places.T.round(3))]


def marked_by_frames(seg):
    """The same from a SEG's own headers and pixels."""
    places = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        shared = seg.SharedFunctionalGroupsSequence[0]
        cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        places += [
            corner + column * between_columns * cosines[0] + row * between_rows * cosines[1]
            for row, column in np.argwhere(pixels)
        ]
    places = np.array(places)
    return places[np.lexsort(places.T.round(3))]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_frames_lie_where_the_mask_lies(tmp_path, name):
    images = write_series(tmp_path / "ct", affine=GEOMETRIES[name])
    series = find_series(tmp_path / "ct")
    dicom_seg(series, a_mask(), "liver", "the organ that makes bile").save_as(tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.NumberOfFrames == 3 and seg.pixel_array.sum() == a_mask().sum()
    np.testing.assert_allclose(marked_by_frames(seg), marked_in_mm(series.affine, a_mask()), atol=1e-3)

    in_order = images[::-1] if name == "feet last" else images
    decoded = highdicom.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in in_order], assert_missing_frames_are_empty=True
    )
    assert np.array_equal(decoded[..., 0], a_mask().transpose(2, 1, 0))


def test_an_enhanced_image_has_its_frames(tmp_path):
    write_enhanced(tmp_path / "ct.dcm", ct_values(), affine_of(), order=(3, 0, 5, 1, 4, 2))
    series = find_series(tmp_path)
    seg = dicom_seg(series, a_mask(), "liver", "the liver")
    np.testing.assert_allclose(marked_by_frames(seg), marked_in_mm(series.affine, a_mask()), atol=1e-3)


def test_it_refers_to_its_images_and_their_patient(tmp_path):
    images = write_series(tmp_path)
    seg = dicom_seg(find_series(tmp_path), a_mask(), "liver", "the organ that makes bile")
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "StudyDate"):
        assert seg[keyword].value == images[0][keyword].value
    assert seg.SeriesInstanceUID != images[0].SeriesInstanceUID
    referenced = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID
    assert referenced == {image.SOPInstanceUID for image in images}
    (segment,) = seg.SegmentSequence
    assert (segment.SegmentLabel, segment.SegmentDescription) == ("liver", "the organ that makes bile")
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("MedVol-R1", VERSION)


def test_the_version_is_that_of_the_bundle():
    metadata = Path(__file__).resolve().parents[2] / "bundle" / "configs" / "metadata.json"
    assert json.loads(metadata.read_text(encoding="utf-8"))["version"] == VERSION


def test_an_empty_mask_has_all_frames(tmp_path):
    write_series(tmp_path / "ct")
    dicom_seg(find_series(tmp_path / "ct"), np.zeros((12, 10, 6)), "spleen", "the spleen").save_as(tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert seg.NumberOfFrames == 6 and not seg.pixel_array.any()


@pytest.mark.parametrize(
    "target, label",
    [
        ("left kidney", "left kidney"),
        ("a\\b\n\tc\x00\x1b[31m", "a/b c [31m"),
        ("  ", "target"),
        ("x" * 100, "x" * 64),
        ("y" * 63 + " z", "y" * 63),
        ("肝臓 🫁", "肝臓 🫁"),
    ],
)
def test_a_label_is_safe_and_reads_back(tmp_path, target, label):
    assert label_of(target) == label
    # As after anonymising: nothing is known of the patient, and the text of the images is in another character set.
    write_series(
        tmp_path / "ct", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100", PatientID=None, StudyID=None
    )
    query = f"\\ {target}\u2028{'ü' * 2000}"
    dicom_seg(find_series(tmp_path / "ct"), a_mask(), target, query).save_as(tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.SegmentSequence[0].SegmentLabel == label
    assert (
        seg.SegmentSequence[0].SegmentDescription.endswith("üü")
        and len(seg.SegmentSequence[0].SegmentDescription) == 1024
    )
    assert seg.PatientName == "Müller^Jörg" and seg.PatientID == ""


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_what_it_must_refer_to_is_named(tmp_path, keyword):
    write_series(tmp_path, **{keyword: None})
    with pytest.raises(ValueError, match=f"{file_of(0)}' has no {keyword}, to which a SEG must refer"):
        dicom_seg(find_series(tmp_path), a_mask(), "liver", "the liver")


def test_what_highdicom_refuses_names_the_series(tmp_path):
    write_series(tmp_path, PatientSex="X")
    with pytest.raises(ValueError, match=f"headers of the series {tmp_path}: 'X' .*`save_dicom_seg`"):
        dicom_seg(find_series(tmp_path), a_mask(), "liver", "the liver")


def test_a_mask_of_another_grid_is_refused(tmp_path):
    write_series(tmp_path)
    with pytest.raises(ValueError, match=r"the mask has shape \(12, 10, 5\), the series .* \(12, 10, 6\)"):
        dicom_seg(find_series(tmp_path), a_mask()[..., :5], "liver", "the liver")


def test_without_highdicom_the_extra_is_named(tmp_path, monkeypatch):
    write_series(tmp_path)
    monkeypatch.setattr(module, "has_highdicom", False)
    with pytest.raises(ImportError, match=r'`save_dicom_seg`.*-e "\.\[dicom\]"'):
        dicom_seg(find_series(tmp_path), a_mask(), "liver", "the liver")


# As files of a case --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_files_of_a_series(tmp_path, name):
    write_series(tmp_path / "ct", affine=GEOMETRIES[name])
    case = case_of(tmp_path / "ct", target="liver")
    write_case(case, tmp_path / "out", ["mask.nii.gz", "evidence.json", "evidence.png", "seg.dcm"])
    mask = nib.load(tmp_path / "out" / "a_mask.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), a_mask()) and mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, read_volume(tmp_path / "ct")[1], atol=1e-4)
    assert dcmread(tmp_path / "out" / "a_seg.dcm").SegmentSequence[0].SegmentLabel == "liver"


def test_the_patient_is_named_in_the_seg_alone(tmp_path):
    write_series(tmp_path / "ct")
    write_case(case_of(tmp_path / "ct"), tmp_path / "out", ["mask.nii.gz", "evidence.json", "evidence.png", "seg.dcm"])
    holds = {path.name for path in (tmp_path / "out").iterdir() if PATIENT.encode() in path.read_bytes()}
    assert holds == {"a_seg.dcm"}
    assert PATIENT.encode() not in nib.load(tmp_path / "out" / "a_mask.nii.gz").header.binaryblock


def test_a_nifti_has_no_seg(tmp_path):
    with pytest.raises(ValueError, match="'a' is no DICOM series, so there is no DICOM SEG of it"):
        write_case(answered_case(tmp_path), tmp_path / "out", ["seg.dcm"])


@pytest.mark.parametrize("wanted", [True, False])
def test_the_writer_writes_it_where_it_can(tmp_path, caplog, wanted):
    write_series(tmp_path / "ct")
    nifti = answered_case(tmp_path, name="b")
    items = []
    for case in (case_of(tmp_path / "ct"), nifti):
        geometry = case.geometry
        meta = geometry_meta(geometry.source_affine, geometry.source_shape, geometry.source_index)
        image = MetaTensor(np.zeros((1, 2, 2, 2), np.float32), meta=meta)
        mask = MetaTensor(case.mask[None])
        items.append({"case": case.name, "result": case.record, "pred": mask, "image": image})
    engine = namedtuple("Engine", "state")(namedtuple("State", "output failures")(items, []))
    writer = CaseWriter(tmp_path / "out", picture=False, save_dicom_seg=wanted)
    writer.write(engine)
    assert not writer.failures
    assert (tmp_path / "out" / "a" / "a_seg.dcm").is_file() == wanted
    assert not (tmp_path / "out" / "b" / "b_seg.dcm").exists()
    assert ("case b is no DICOM series" in caplog.text) == wanted


def test_it_is_one_of_the_formats():
    assert "seg.dcm" in FORMATS, "so that it is removed when the case is answered again"

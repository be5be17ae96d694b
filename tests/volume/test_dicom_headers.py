"""Which series a path names."""

import os
import shutil

import pytest
from dicom_files import PATIENT, affine_of, ct_values, dicom_failure, file_of, write_nifti, write_series
from medvol_r1.volume import dicom_headers
from medvol_r1.volume.dicom_headers import is_dicom, named_series, series_headers
from medvol_r1.volume.dicom_series import find_series
from medvol_r1.volume.io import read_volume
from pydicom import dcmread
from pydicom.uid import MRImageStorage, SegmentationStorage, generate_uid

CORONAL = ["1", "0", "0", "0", "0", "-1"]


def uids(path):
    return {str(header.SeriesInstanceUID) for header in series_headers(path)}


def files(path):
    return sorted(os.path.basename(header.filename) for header in series_headers(path))


def test_a_folder_or_a_file_that_begins_as_dicom(tmp_path):
    write_series(tmp_path / "ct")
    nifti = write_nifti(tmp_path / "ct.nii.gz", ct_values(), affine_of())
    found = [is_dicom(path) for path in (tmp_path / "ct", tmp_path / "ct" / file_of(0), nifti, tmp_path / "absent")]
    assert found == [True, True, False, False]


def test_what_is_no_ct_image_does_not_count(tmp_path):
    """A localizer and a SEG of the same series, an MR, notes, hidden files, a PACS's index, a fifo, a dead link."""
    images = write_series(tmp_path / "ct")
    series = images[0].SeriesInstanceUID
    write_series(
        tmp_path / "scout", ct_values((12, 10, 2)), series=series, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_series(tmp_path / "seg", ct_values((12, 10, 2)), series=series, SOPClassUID=SegmentationStorage)
    write_series(tmp_path / "mr", SOPClassUID=MRImageStorage)
    for part in ("scout", "seg", "mr"):
        shutil.move(tmp_path / part, tmp_path / "ct" / part)
    (tmp_path / "ct" / "notes.txt").write_text("by hand")
    (tmp_path / "ct" / "._IM0003.dcm").write_bytes(b"of an operating system")
    (tmp_path / "ct" / ".DS_Store").write_bytes(b"")
    os.mkfifo(tmp_path / "ct" / "pipe")
    (tmp_path / "ct" / "gone.dcm").symlink_to("nowhere")
    assert files(tmp_path / "ct") == sorted(file_of(index) for index in range(6))


def test_subfolders_are_searched_and_links_to_folders_are_not_followed(tmp_path):
    write_series(tmp_path / "study" / "a" / "b")
    (tmp_path / "study" / "a" / "loop").symlink_to(tmp_path / "study", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "study", target_is_directory=True)
    assert len(files(tmp_path / "study")) == len(files(tmp_path / "link")) == 6


def test_of_several_series_the_axial_one_is_meant(tmp_path):
    axial = write_series(tmp_path / "study" / "1")[0].SeriesInstanceUID
    write_series(tmp_path / "study" / "2", ImageOrientationPatient=CORONAL)
    write_series(tmp_path / "study" / "3", ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
    assert uids(tmp_path / "study") == {axial}


def test_of_one_series_its_plane_does_not_matter(tmp_path):
    write_series(tmp_path, ImageOrientationPatient=CORONAL)
    assert len(files(tmp_path)) == 6


@pytest.mark.parametrize("orientation, axial", [(None, 2), (CORONAL, 0)])
def test_which_of_several_is_meant_must_be_said(tmp_path, orientation, axial):
    changes = {} if orientation is None else {"ImageOrientationPatient": orientation}
    thin = write_series(tmp_path / "thin", **changes)[0].SeriesInstanceUID
    thick = write_series(
        tmp_path / "thick",
        ct_values((12, 10, 3)),
        SeriesDescription="thick\t\x07 \U0001fac1",
        SpecificCharacterSet="ISO_IR 192",
        **changes,
    )
    reason, message = dicom_failure(tmp_path)
    assert reason == "several_series"
    assert f"{tmp_path} holds 2 CT series, {axial} of them axial" in message
    assert "name a file of it as `image`" in message
    plane = "coronal" if orientation else "axial"
    assert f"\n  'thin/{file_of(0)}': {plane}, 6 slices, 'thorax 2.5', UID {thin}" in message
    assert f"{plane}, 3 slices, 'thick?? \U0001fac1', UID {thick[0].SeriesInstanceUID}" in message
    assert uids(tmp_path / "thick") == {thick[0].SeriesInstanceUID}


def test_several_series_are_named_one_by_one(tmp_path):
    write_series(tmp_path / "alone")
    write_series(tmp_path / "shared")
    write_series(tmp_path / "shared" / "below")
    write_series(tmp_path / "coronal", ImageOrientationPatient=CORONAL)
    named = named_series(str(tmp_path))
    # The folder `shared` means two series, so that one of them is named by a file.
    assert named == [str(tmp_path / name) for name in ("alone", f"shared/{file_of(0)}", "shared/below")]
    assert len({uid for path in named for uid in uids(path)}) == 3


def test_a_folder_with_something_of_dicom_is_named_itself_and_one_without_not(tmp_path):
    assert named_series(str(tmp_path)) == []
    (tmp_path / "notes.txt").touch()
    assert named_series(str(tmp_path)) == []
    (tmp_path / "x.dcm").touch()
    assert named_series(str(tmp_path)) == [str(tmp_path)]


def test_a_file_names_the_series_that_it_belongs_to(tmp_path, monkeypatch):
    first, second = generate_uid(), generate_uid()
    write_series(tmp_path / "below", series=second)  # a file names its folder alone
    write_series(tmp_path, series=first)
    for path in list(tmp_path.glob("IM*")):
        path.rename(tmp_path / f"a_{path.name}")
    write_series(tmp_path, ct_values() + 1, series=second)
    assert uids(tmp_path / f"a_{file_of(3)}") == {first}
    assert uids(tmp_path / file_of(3)) == {second}
    monkeypatch.chdir(tmp_path)
    assert uids(file_of(3)) == {second}
    assert read_volume(tmp_path / file_of(3))[0].shape == (12, 10, 6)


def test_a_localizer_is_no_series_to_name(tmp_path):
    write_series(tmp_path)
    image = dcmread(tmp_path / file_of(0))
    image.ImageType = ["DERIVED", "SECONDARY", "LOCALIZER"]
    image.save_as(tmp_path / "scout.dcm")
    reason, message = dicom_failure(tmp_path / "scout.dcm")
    assert reason == "no_ct_series" and "scout.dcm is no CT image, or a localizer" in message


def test_a_folder_without_ct_says_what_it_holds(tmp_path):
    write_series(tmp_path / "mr", SOPClassUID=MRImageStorage)
    write_nifti(tmp_path / "mr" / "ct.nii.gz", ct_values(), affine_of())
    reason, message = dicom_failure(tmp_path / "mr")
    assert reason == "no_ct_series"
    assert "6 x MR Image Storage" in message and "1 x files that are not DICOM" in message
    assert "name the folder of a CT series, or a .nii or .nii.gz file" in message
    (tmp_path / "empty").mkdir()
    assert "(no DICOM file)" in dicom_failure(tmp_path / "empty")[1]


@pytest.mark.parametrize("content", [b"", b"x" * 50, b"<html>login</html>"])
def test_a_file_that_should_be_dicom_and_is_not_is_named(tmp_path, content):
    """It may be a slice of the series: its end would be missing unnoticed."""
    write_series(tmp_path)
    (tmp_path / "IM9.DCM").write_bytes(content)
    reason, message = dicom_failure(tmp_path)
    assert reason == "truncated_file" and "IM9.DCM" in message and "copy it again" in message


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_file_that_ends_early_is_named(tmp_path):
    write_series(tmp_path)
    whole = (tmp_path / file_of(5)).read_bytes()
    reasons = set()
    for length in range(132, 1300, 40):
        (tmp_path / file_of(5)).write_bytes(whole[:length])
        reason, message = dicom_failure(tmp_path)
        assert file_of(5) in message
        reasons.add(reason)
    assert {"bad_header", "truncated_file"} <= reasons <= {"bad_header", "truncated_file", "not_hu", "mixed_slices"}


def test_a_header_is_read_without_what_is_not_needed(tmp_path, monkeypatch):
    """Once a file, no pixels, no names, and not the megabytes of a private element."""
    images = write_series(tmp_path)
    block = images[0].private_block(0x0051, "ACME", create=True)
    block.add_new(0x01, "OB", bytes(8 * 2**20))
    images[0].save_as(tmp_path / file_of(0), enforce_file_format=True)
    read, opened = dicom_headers.read_header, []
    monkeypatch.setattr(dicom_headers, "read_header", lambda path: opened.append(path) or read(path))
    headers = series_headers(tmp_path)
    assert len(opened) == 6
    for header in headers:
        assert "PixelData" not in header and "PatientName" not in header and (0x0051, 0x1001) not in header
        assert PATIENT not in str(header)


def test_names_of_files_are_shown_safely(tmp_path):
    write_series(tmp_path)
    odd = os.path.join(os.fsencode(tmp_path), b"IM\n\xff\x1b[31m $(x) .dcm")
    os.rename(os.path.join(os.fsencode(tmp_path), os.fsencode(file_of(2))), odd)
    assert find_series(tmp_path).affine.shape == (4, 4)
    with open(odd, "wb"):
        pass
    reason, message = dicom_failure(tmp_path)
    assert reason == "truncated_file" and "IM\\n\\udcff\\x1b[31m $(x) .dcm" in message
    message.encode()  # to a terminal or a file


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    write_series(tmp_path)
    monkeypatch.setattr(dicom_headers, "has_pydicom", False)
    with pytest.raises(ImportError, match=r'is read by pydicom.*-e "\.\[dicom\]"'):
        read_volume(tmp_path)

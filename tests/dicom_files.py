"""DICOM series of CT for tests: written slice by slice from a volume and its affine, as a scanner would."""

import re

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.io import read_volume

pytest.importorskip("pydicom", reason="needs the extra `dicom`")

import pydicom  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PATIENT = "Doe^Jane"
INTERCEPT = -1024


def ct_values(shape=(12, 10, 6)):
    """int16 HU [X, Y, Z]: like a CT to `doubt_of_hu`, each voxel another value nearby."""
    values = np.random.default_rng(0).integers(-1000, 1500, shape)
    return values.astype(np.int16)


def affine_of(spacing=(0.8, 0.7, 2.5), turn_degrees=0.0, tilt_degrees=0.0, flip_z=False):
    """[4, 4] to RAS+ mm. Columns to the left, rows to posterior, slices up; then turned about the left-right axis;
    with a tilted gantry the slices are turned, and the table still moves along z."""
    cos, sin = np.cos(np.deg2rad(turn_degrees)), np.sin(np.deg2rad(turn_degrees))
    directions = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    if tilt_degrees:
        cos, sin = np.cos(np.deg2rad(tilt_degrees)), np.sin(np.deg2rad(tilt_degrees))
        directions = np.array([[1, 0, 0], [0, cos, 0], [0, sin, 1]])
    lps = np.eye(4)
    lps[:3, :3] = directions * spacing
    lps[:3, 3] = -120.5, -98.25, -431.0
    if flip_z:
        lps[:3, 2] *= -1
    return LPS @ lps


def slice_dataset(values, affine, index, series, **changes):
    """One slice of a volume [X, Y, Z]; `changes` are elements by keyword, None removes one."""
    lps = LPS @ affine
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{series[:60]}.1", series
    image.FrameOfReferenceUID = f"{series[:60]}.2"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = PATIENT, "PAT-4711", "19700101", "F"
    image.StudyDate = image.SeriesDate = "20240102"
    image.StudyTime, image.AccessionNumber, image.ReferringPhysicianName = "101500", "", ""
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 3, index + 1
    image.Modality, image.ImageType, image.SeriesDescription = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "thorax 2.5"
    image.Manufacturer, image.PositionReferenceIndicator = "Acme", ""
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = (lps[:3, :2] / edges[:2]).T.ravel()
    image.ImageOrientationPatient = [f"{number:.10f}"[:16] for number in cosines]
    image.ImagePositionPatient = [f"{number:.10f}"[:16] for number in (lps @ [0, 0, index, 1])[:3]]
    image.PixelSpacing, image.SliceThickness = [float(edges[1]), float(edges[0])], float(edges[2])
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Columns, image.Rows = values.shape[:2]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, INTERCEPT
    image.PixelData = (values[..., index].T.astype(np.int32) - INTERCEPT).astype(np.uint16).tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    return image


def write_series(folder, values=None, affine=None, series=None, **changes):
    """A series as files named against its order; returns the datasets, from the first slice to the last.

    A change that is a function is called with the index of the slice.
    """
    values = ct_values() if values is None else values
    affine = affine_of() if affine is None else affine
    series = series or generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(values.shape[2]):
        own = {keyword: value(index) if callable(value) else value for keyword, value in changes.items()}
        images.append(slice_dataset(values, affine, index, series, **own))
        _save(images[-1], folder / file_of(index))
    return images


def file_of(index):
    """Name of a slice's file: their order says nothing, as from many archives."""
    return f"IM{(index * 7 + 3) % 1000:04d}"


def dicom_failure(path):
    """Reason and message of a series that is refused."""
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert PATIENT not in message and "PAT-4711" not in message
    return caught.value.reason, message


def write_nifti(path, values, affine):
    """The same volume as NIfTI."""
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def write_enhanced(path, values, affine, order):
    """The same volume as one Enhanced CT image, its frames in `order`; returns the dataset."""
    slices = [slice_dataset(values, affine, index, generate_uid()) for index in range(values.shape[2])]
    image = slices[0]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    image.NumberOfFrames, image.ImageType = len(order), ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(image, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_item(image, "PixelSpacing", "SliceThickness")]
    shared.PixelValueTransformationSequence = [_item(image, "RescaleSlope", "RescaleIntercept")]
    image.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index in order:
        frame = Dataset()
        frame.PlanePositionSequence = [_item(slices[index], "ImagePositionPatient")]
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = frames
    image.PixelData = b"".join(slices[index].PixelData for index in order)
    keywords = ("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope", "RescaleIntercept")
    for keyword in (*keywords, "ImagePositionPatient"):
        delattr(image, keyword)
    _save(image, path)
    return image


def _save(image, path):
    """As a file; also with pydicom 2, which MONAI Label needs."""
    if int(pydicom.__version__.split(".")[0]) > 2:
        image.save_as(path, enforce_file_format=True)
    else:
        image.is_little_endian, image.is_implicit_VR = True, False
        image.save_as(path, write_like_original=False)


def _item(image, *keywords):
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, image[keyword].value)
    return item


def check_a_slice_is_refused(folder, changes, reason, message):
    """That a series of six slices, whose fourth has other attributes, is refused with words that name the slice.

    Args:
        folder: is written to.
        changes: the attributes.
        reason: of the failure.
        message: a pattern in its words.
    """
    images = write_series(folder)
    image = slice_dataset(ct_values(), affine_of(), 3, images[0].SeriesInstanceUID, **changes)
    image.save_as(folder / file_of(3), enforce_file_format=True)
    found, told = dicom_failure(folder)
    assert found == reason
    assert file_of(3) in told
    assert re.search(message, told), told

"""DICOM files of one image that is no CT, for tests."""

import pytest

pytest.importorskip("pydicom", reason="needs the extra `dicom`")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation


def write_dicom(path, stored, **changes):
    """A file of one frame [rows, columns] or [rows, columns, 3]; `changes` are elements by keyword."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = RADIOGRAPH, generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = generate_uid(), generate_uid(), "DX"
    image.Rows, image.Columns = stored.shape[:2]
    image.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    image.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    if stored.ndim == 3:
        image.PlanarConfiguration = 0
    bits = 8 * stored.dtype.itemsize
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, bits, bits - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    image.save_as(path, enforce_file_format=True)
    return path

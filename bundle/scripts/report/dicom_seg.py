"""A mask of a DICOM series as DICOM SEG: one segment, its frames tied to the images that they lie on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monai.utils import optional_import

from ..volume.dicom_series import DicomSeries

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from pydicom.dataset import Dataset

highdicom, has_highdicom = optional_import("highdicom")
pydicom, _ = optional_import("pydicom")

NAME, VERSION = "MedVol-R1", "0.1.0"
# Characters that a value may have: of LO and of ST.
_LONGEST_LABEL = 64
_LONGEST_DESCRIPTION = 1024
# What the SEG takes from the images, and may be empty, but not absent.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)


def dicom_seg(series: DicomSeries, mask: np.ndarray, target: str, query: str) -> Segmentation:
    """The SEG of a mask.

    Frames without a marked pixel are left out; a mask that marks nothing keeps all of them, for a SEG without frames
    is not legal. The SEG has the patient and the study of its images, as the standard wants it.

    Args:
        series: of the images.
        mask: [X, Y, Z] on the grid of the series, nonzero is the target.
        target: what was asked for, in short: the segment's label.
        query: the question: the segment's description.

    Raises:
        ImportError: highdicom is not installed.
        ValueError: the mask is not on the grid, or an image lacks what a SEG must refer to.
    """
    if not has_highdicom:
        raise ImportError(
            "a DICOM SEG (config key `save_dicom_seg`) is written by highdicom, and it is not installed: "
            'python -m pip install -c constraints.txt -e ".[dicom]"'
        )
    sources, frames = _sources(series), _frames(series, mask)
    codes = pydicom.sr.codedict.codes
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=label_of(target),
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME, version=VERSION, family=codes.DCM.ArtificialIntelligence
        ),
    )
    segment.SegmentDescription = _printable(query)[:_LONGEST_DESCRIPTION]
    try:
        seg = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=frames,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            series_instance_uid=highdicom.UID(),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=VERSION,
            device_serial_number="0",
            content_label="MEDVOL_R1",
            omit_empty_frames=bool(frames.any()),
            series_description=f"{NAME}: {label_of(target)}"[:_LONGEST_LABEL],
        )
    except (AttributeError, TypeError, ValueError) as error:  # what the images' headers hold is copied and checked
        raise ValueError(
            f"no DICOM SEG can be made from the headers of the series {series.path}: {error}. Correct them, or leave "
            "`save_dicom_seg` out"
        ) from error
    # Any language may stand in a query, and only this set has them all; what is copied from the images is text as well.
    seg.SpecificCharacterSet = "ISO_IR 192"
    return seg


def label_of(target: str) -> str:
    r"""A text as a segment's label: at most 64 characters on one line, and no backslash, which separates values.

    >>> label_of("left\\right\nkidney")
    'left/right kidney'
    """
    return " ".join(_printable(target).replace("\\", "/").split())[:_LONGEST_LABEL].strip() or "target"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _sources(series: DicomSeries) -> list[Dataset]:
    """The headers of the images, in the order of the slices."""
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in series.files]
    if len(sources) not in (1, len(series.planes)):
        raise ValueError(f"the series {series.path} is several multi-frame images; a SEG refers to one of them only")
    for source in sources:
        for keyword in ("StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if not source.get(keyword):
                raise ValueError(f"{source.filename!r} has no {keyword}, to which a SEG must refer (`save_dicom_seg`)")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in source:
                setattr(source, keyword, "")
    return sources


def _frames(series: DicomSeries, mask: np.ndarray) -> np.ndarray:
    """uint8 [frames, rows, columns], in the order of the slices, or of the frames of a multi-frame image."""
    rows, columns = series.planes[0].shape
    if mask.shape != (columns, rows, len(series.planes)):
        raise ValueError(
            f"the mask has shape {mask.shape}, the series {series.path} {(columns, rows, len(series.planes))}: the "
            "folder has changed since it was read"
        )
    marked = (mask > 0).astype(np.uint8).transpose(2, 1, 0)
    if len(series.files) > 1:
        return marked
    frames = np.zeros((1 + max(plane.frame for plane in series.planes), rows, columns), dtype=np.uint8)
    frames[[plane.frame for plane in series.planes]] = marked
    return frames

"""A mask of a study as a file, in the formats of `report.case_files`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from ..report.case_files import FORMATS, AnsweredCase
from .failures import ServiceError
from .study import NamedMask, Study

ENDINGS = {
    "nifti": "mask.nii.gz",
    "dicom_seg": "seg.dcm",
    "evidence": "evidence.json",
    "picture": "evidence.png",
}
"""The ending of a format's file, see `case_files.FORMATS`."""

_UNCHANGED = np.array([[0, 1], [1, 1], [2, 1]])


def export(study: Study, mask: NamedMask, form: str, folder: Path) -> Path:
    """Writes a mask into a folder.

    Args:
        study: whose volume the mask lies on.
        mask: of the study.
        form: one of ENDINGS.
        folder: that exists.

    Raises:
        ServiceError: `unknown_format`, or `not_dicom`: there is no DICOM SEG of a NIfTI volume.
        ValueError: an image of the series lacks what a SEG must refer to.
        ImportError: highdicom is not installed.
    """
    if form not in ENDINGS:
        raise ServiceError("unknown_format", f"there is no format {form!r}; legal are {', '.join(ENDINGS)}.")
    case = AnsweredCase(
        name=study.name,
        record=mask.current.record,
        mask=source_mask(mask.current.mask.full(), study.geometry.orientation).astype(np.uint8),
        geometry=study.geometry,
        window=study.window,
        target=mask.name,
    )
    if form == "dicom_seg" and case.series is None:
        raise ServiceError("not_dicom", f"{study.name!r} is no DICOM series, so there is no DICOM SEG of its masks.")
    if form == "evidence":  # where the volume lies on the server is nobody's business
        case = replace(case, record={**case.record, "image": study.name})
    path = folder / ENDINGS[form]
    FORMATS[ENDINGS[form]](case, path)
    return path


def exports(study: Study) -> list[str]:
    """The formats that a study's masks can be written in: a SEG refers to the images of a series, which is a folder."""
    return [form for form in ENDINGS if form != "dicom_seg" or study.path.is_dir()]


def source_mask(mask: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """A mask of the LPS volume in the source's order of voxels.

    Args:
        mask: [X, Y, Z], LPS.
        orientation: int64 [3, 2], source to LPS, see `SliceGeometry`.
    """
    return nib.orientations.apply_orientation(mask, nib.orientations.ornt_transform(_UNCHANGED, orientation))

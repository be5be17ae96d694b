"""The files of an answered case, one format each.

A new format is a function of a case and a path, and a line in FORMATS: inference writes all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from PIL import ExifTags, Image

from ..images.picture_file import is_picture, read_picture
from ..volume.dicom_headers import is_ct, is_dicom
from ..volume.dicom_series import DicomSeries, find_series, series_image
from ..volume.geometry import SliceGeometry, restore_map
from ..volume.io import is_single_image, read_volume
from ..volume.windows import FULL_RANGE
from .dicom_seg import dicom_seg
from .evidence_picture import draw_evidence, save_evidence


@dataclass(frozen=True, eq=False, kw_only=True)
class AnsweredCase:
    """What is known of a case when its files are written.

    Args:
        name: of the case, its folder and its files.
        record: see `evidence_record`; its `image` is the path of the volume.
        mask: uint8 [X, Y, Z], in the source's voxel order, 0 or 1.
        geometry: of the volume and its shown slices.
        agreement_map: float32 [S, H, W] of the shown slices in 0..1, see `self_consistency.Decision`; None: there is
            none.
        truth: bool [X, Y, Z], the target by its label; None: there is no label.
        scores: against the label, by name ("DSC"); each in 0..1.
        window: what is drawn black and white in pictures: HU of a CT, else values of the volume.
        target: what is asked for, in short; None: the query says it.
    """

    name: str
    record: Mapping[str, Any]
    mask: np.ndarray
    geometry: SliceGeometry
    agreement_map: np.ndarray | None = None
    truth: np.ndarray | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    window: tuple[float, float] = (-160.0, 240.0)
    target: str | None = None

    @cached_property
    def series(self) -> DicomSeries | None:
        """The volume's DICOM series, None where it is something else."""
        path = self.record["image"]
        return find_series(path, in_hu=False) if is_dicom(path) and is_ct(path) else None

    @cached_property
    def is_picture(self) -> bool:
        """Whether the volume is a PNG, JPEG, TIFF, ... file: it says nothing of the patient's directions."""
        return is_picture(self.record["image"])

    @cached_property
    def source(self) -> nib.Nifti1Image:
        """The volume as NIfTI. It is opened once; all formats take the header from here. Of a single image it has the
        grid alone."""
        if self.series is not None:
            return series_image(self.series)
        if is_single_image(self.record["image"]):
            grid = np.zeros(self.geometry.source_shape, np.uint8)
            return nib.Nifti1Image(grid, self.geometry.source_affine)
        return cast(nib.Nifti1Image, nib.load(self.record["image"]))

    @cached_property
    def channels(self) -> np.ndarray:
        """The voxels of the volume, float32 [X, Y, Z], or [X, Y, 1, 3] of a coloured image."""
        if is_single_image(self.record["image"]):
            voxels, _ = read_volume(self.record["image"], intensity=FULL_RANGE)
            return np.moveaxis(voxels, 0, -1) if voxels.ndim == 4 else voxels
        return self.source.get_fdata(dtype=np.float32).reshape(self.geometry.source_shape)


def write_mask(case: AnsweredCase, path: Path) -> None:
    """NIfTI uint8, on the grid of the volume: sform, qform and spacing as they stand in its header."""
    _save(np.ascontiguousarray(case.mask, dtype=np.uint8), case.source, path, "MedVol-R1 mask")


def write_agreement(case: AnsweredCase, path: Path) -> None:
    """NIfTI float32, the map of agreement on the grid of the volume.

    Raises:
        ValueError: the case has no such map.
    """
    if case.agreement_map is None:
        raise ValueError(f"case {case.name!r} has no map of agreement (config keys `num_anchors`, `save_agreement`).")
    values = np.ascontiguousarray(restore_map(case.agreement_map, case.geometry))
    _save(values, case.source, path, "MedVol-R1 agreement")


def write_record(case: AnsweredCase, path: Path) -> None:
    """JSON in UTF-8."""
    path.write_text(json.dumps(case.record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_picture(case: AnsweredCase, path: Path) -> None:
    """PNG, see `evidence_picture`."""
    figure = draw_evidence(
        case.channels,
        case.mask,
        case.geometry,
        case.record,
        window=case.window,
        truth=case.truth,
        scores=case.scores,
        has_directions=not case.is_picture,
    )
    save_evidence(figure, path)


def write_mask_picture(case: AnsweredCase, path: Path) -> None:
    """PNG of 8 bits, 255 is the target, on the stored grid of the picture that was asked about, with its orientation:
    whoever turns one upright turns both.

    Raises:
        ValueError: the volume is no picture.
    """
    if not case.is_picture:
        raise ValueError(f"case {case.name!r} is no picture, so there is no mask.png of it; its mask is NIfTI.")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = read_picture(case.record["image"]).orientation
    Image.fromarray(np.ascontiguousarray(case.mask[:, :, 0].T != 0).astype(np.uint8) * 255).save(path, exif=exif)


def write_dicom_seg(case: AnsweredCase, path: Path) -> None:
    """DICOM SEG, see `dicom_seg`.

    Raises:
        ValueError: the volume is no DICOM series, or an image of it lacks what a SEG must refer to.
        ImportError: highdicom is not installed.
    """
    if case.series is None:
        raise ValueError(f"case {case.name!r} is no DICOM series, so there is no DICOM SEG of it (`save_dicom_seg`).")
    query = case.record["query"]
    dicom_seg(case.series, case.mask, case.target or query, query).save_as(path)


FORMATS: Mapping[str, Callable[[AnsweredCase, Path], None]] = {
    "mask.nii.gz": write_mask,
    "mask.png": write_mask_picture,
    "evidence.json": write_record,
    "evidence.png": write_picture,
    "agreement.nii.gz": write_agreement,
    "seg.dcm": write_dicom_seg,
}
"""What writes a format, by the ending of its file `<case>_<ending>`."""


def write_case(case: AnsweredCase, folder: Path, endings: Iterable[str]) -> dict[str, Path]:
    """Writes some of FORMATS; what an earlier run left of the case is removed, so that all files are of one answer.

    Args:
        case: what to write.
        folder: of the case, made when absent.
        endings: of the files.

    Returns:
        The paths that were written, by ending.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_case(case.name, folder)
    paths = {ending: folder / f"{case.name}_{ending}" for ending in endings}
    for ending, path in paths.items():
        FORMATS[ending](case, path)
    return paths


def remove_case(name: str, folder: Path) -> None:
    """Removes the files of a case, where there are any; other files in its folder are left alone."""
    if folder.is_dir():
        for ending in FORMATS:
            (folder / f"{name}_{ending}").unlink(missing_ok=True)


def _save(voxels: np.ndarray, source: nib.Nifti1Image, path: Path, description: str) -> None:
    """Voxels [X, Y, Z] of values in 0..1, in their own type, under the header of the volume."""
    header = nib.Nifti1Header.from_header(source.header)
    header.extensions.clear()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    header["descrip"] = description.encode()
    nib.save(nib.Nifti1Image(voxels, None, header), path)

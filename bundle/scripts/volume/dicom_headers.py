"""Which series a path names, of a CT, MR or PET: the headers of a folder's DICOM files, sorted by series."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from tqdm import tqdm

from .failures import VolumeError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

# MONAI imports pydicom as well, where it is installed: this costs nothing.
pydicom, has_pydicom = optional_import("pydicom")

_logger = logging.getLogger(__name__)

# CT Image, Enhanced CT Image, Legacy Converted Enhanced CT Image.
_CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.2{ending}" for ending in ("", ".1", ".2"))
# Whose slices make volumes as those of a CT do: MR and PET, enhanced and converted ones too.
_OTHER_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("4", "4.1", "4.4", "128", "130", "128.1"))
# The index of a medium, which is in no series.
_DICOMDIR = "1.2.840.10008.1.3.10"
# Where an enhanced image has them.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
}
# All that is read of a header: nothing of it tells who the patient is, and private elements may be large.
_OF_SERIES = ("SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "ImageType", "NumberOfFrames", "Rows")
_KEYWORDS = (
    *(*_OF_SERIES, "FrameOfReferenceUID", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *_GROUPS),
)
_NOT_DICOM = "files that are not DICOM"
_ENDINGS = (".dcm", ".dicom", ".ima")
# Series that an error lists, and characters of a text that it shows.
_MOST_LISTED = 20
_LONGEST_TEXT = 64


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether a path is a folder, or a file that begins as DICOM files do: 128 bytes of anything, then DICM."""
    if os.path.isdir(path):
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:  # who reads it says why it cannot be read
        return False


def is_ct(path: str | os.PathLike) -> bool:
    """Whether what `is_dicom` holds for is read as a CT series: a folder, or a file of a CT image.

    A file of another class (MR, a radiograph, ultrasound, a photograph) is an image of its own. Where that cannot be
    told, it is no such file: who reads the series says why.
    """
    if os.path.isdir(path) or not has_pydicom:
        return True
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "Rows"])
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        return str(kind) in _CT_CLASSES or not header.get("Rows")
    except Exception:  # pydicom has no error of its own for all that a damaged file can be
        return True


def series_headers(path: str | os.PathLike, *, in_hu: bool = True) -> list[FileDataset]:
    """The headers of the images of one series, each with its `filename`.

    A folder is searched with its subfolders; links to folders are not followed. Localizers and what is no CT image (a
    dose report, SEG, RTSTRUCT, other modalities) do not count. If several series are there, the axial one is meant.

    Args:
        path: a folder; or one DICOM file of a CT, which names the series that it belongs to, of those in its own
            folder.
        in_hu: of a CT alone; else, where a folder holds no CT image, of MR or PET.

    Raises:
        VolumeError: `no_ct_series`, `several_series`, `bad_header` or `truncated_file`.
        ImportError: pydicom is not installed.
    """
    if not has_pydicom:
        raise ImportError(
            f"{path} is DICOM, which is read by pydicom, and it is not installed: "
            'python -m pip install -c constraints.txt -e ".[dicom]"'
        )
    if not os.path.isdir(path):
        folder, name = os.path.split(path)
        return _series_with(os.path.join(folder or ".", name), _images_of(folder or ".", subfolders=False)[0])
    series, others = _images_of(path, subfolders=True)
    if not series and not in_hu:
        series, others = _images_of(path, subfolders=True, classes=_OTHER_CLASSES)
    if not series:
        found = ", ".join(f"{count} x {name}" for name, count in others.items()) or "no DICOM file"
        raise VolumeError(
            "no_ct_series",
            f"no CT image is in the folder {path} and its subfolders ({found}); name the folder of a CT series, or a "
            ".nii or .nii.gz file, or set `intensity` to percentiles for a series of MR or PET",
        )
    meant = _meant(series)
    if len(meant) == 1:
        if len(series) > 1:
            _logger.info("%s: of %d series the axial one, %s", path, len(series), _described(meant[0], path))
        return meant[0]
    axial = sum(_orientation(images[0]) == "axial" for images in series.values())
    listed = "".join(f"\n  {_described(images, path)}" for images in list(series.values())[:_MOST_LISTED])
    named = "name a file of it as `image`, which means all of its series, or" if in_hu else "name its folder, or"
    raise VolumeError(
        "several_series",
        f"the folder {path} holds {len(series)} {'CT ' * in_hu}series, {axial} of them axial, and one must be chosen: "
        f"{named} move it to a folder of its own:{listed}",
    )


def named_series(folder: str) -> list[str]:
    """How to name the CT series of a folder, one by one.

    Args:
        folder: searched as by `series_headers`.

    Returns:
        Where several may be meant, the axial ones, or all where none is: the folder of each that has one to itself, a
        file of the others. Else the folder itself: who reads it finds its one series, or says what is wrong. Nothing
        where no DICOM file is.
    """
    try:
        series, others = _images_of(folder, subfolders=True) if has_pydicom else ({}, Counter())
    except VolumeError:
        return [folder]
    if not series and set(others) <= {_NOT_DICOM}:
        return []
    meant = _meant(series)
    if len(meant) < 2:
        return [folder]
    own = [os.path.dirname(images[0].filename) for images in meant]
    return [
        place if len(_below(place, series)) == 1 else images[0].filename
        for place, images in zip(own, meant, strict=True)
    ]


def read_header(path: str) -> FileDataset | None:
    """What is read of a file's header; None: it is not DICOM.

    Raises:
        VolumeError: `bad_header`, or `truncated_file` where its name says that it should be DICOM.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        header.filename = path  # pydicom makes it absolute, or a text of its own
        # pydicom looks at a value when it is asked for: here, where an error knows its file.
        for keyword in _OF_SERIES:
            header.get(keyword)
        header.file_meta.get("MediaStorageSOPClassUID")
        return header
    except pydicom.errors.InvalidDicomError as error:
        if not path.lower().endswith(_ENDINGS):
            return None
        raise VolumeError(
            "truncated_file",
            f"{path!r} does not begin as a DICOM file (preamble, DICM): it is empty, damaged, or of an old form; "
            "copy it again, rewrite it with dcmconv, or move it out of the folder",
        ) from error
    except Exception as error:  # pydicom has no error of its own for all that a damaged file can be
        raise VolumeError(
            "bad_header",
            f"{path!r} has a header that cannot be read ({type(error).__name__}: {error}); copy it again, or move it "
            "out of the folder",
        ) from error


def frame_value(header: FileDataset, frame: int, keyword: str) -> Any:
    """What a header says of a frame: at its top, or, of an enhanced image, in the frame's own or the shared groups.

    Args:
        header: of one file.
        frame: 0-based, in the file.
        keyword: one of those that `_GROUPS` knows.

    Returns:
        pydicom's value, None where there is none.
    """
    if "SharedFunctionalGroupsSequence" not in header:
        return header.get(keyword)
    for groups in (header.PerFrameFunctionalGroupsSequence[frame], header.SharedFunctionalGroupsSequence[0]):
        for group in groups.get(_GROUPS[keyword]) or ():
            return group.get(keyword)
    return None


def _images_of(
    folder: str | os.PathLike, subfolders: bool, classes: Sequence[str] = _CT_CLASSES
) -> tuple[dict[str, list[FileDataset]], Counter[str]]:
    """Images of some classes by series, and how many files of which other kind there are."""
    series: dict[str, list[FileDataset]] = {}
    others: Counter[str] = Counter()
    for path in tqdm(list(_files(folder, subfolders)), desc="DICOM headers", unit="file", leave=False, delay=5):
        header = read_header(path)
        if header is None:
            others[_NOT_DICOM] += 1
            continue
        kind = str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID") or "")
        if kind == _DICOMDIR:
            continue
        lacking = [keyword for keyword in ("SeriesInstanceUID", "Rows") if not header.get(keyword)]
        if "SeriesInstanceUID" in lacking or lacking and kind in classes:
            # A slice perhaps: passed over, it would be missing unnoticed at an end of the series.
            raise VolumeError(
                "bad_header",
                f"{path!r} has no {lacking[0]}: it ends in its header, or is damaged; copy it again, or move it "
                "out of the folder",
            )
        if kind not in classes:
            others[_safe(pydicom.uid.UID(kind).name)] += 1
        elif "LOCALIZER" in (header.get("ImageType") or ()):
            others["localizer"] += 1
        else:
            series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    return series, others


def _files(folder: str | os.PathLike, subfolders: bool) -> Iterator[str]:
    """Regular files of a folder, or of its subfolders too; hidden ones are notes of an operating system."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(folders) if subfolders else []
        for name in sorted(names):
            path = os.path.join(place, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield path


def _meant(series: Mapping[str, list[FileDataset]]) -> list[list[FileDataset]]:
    """The series that a folder may mean: the axial ones, or all where none is."""
    axial = [images for images in series.values() if _orientation(images[0]) == "axial"]
    return axial or list(series.values())


def _below(folder: str, series: Mapping[str, list[FileDataset]]) -> list[str]:
    """UIDs of the series that have images in a folder or its subfolders."""
    start = os.path.join(folder, "")
    return [uid for uid, images in series.items() if any(image.filename.startswith(start) for image in images)]


def _series_with(path: str, series: Mapping[str, list[FileDataset]]) -> list[FileDataset]:
    """The series that a file belongs to."""
    for images in series.values():
        if any(image.filename == path for image in images):
            return images
    raise VolumeError(
        "no_ct_series",
        f"{path} is no CT image, or a localizer; name a file of a CT series, or its folder, as `image`, or set "
        "`intensity` to percentiles or full_range for a single image of another modality",
    )


def _described(images: Sequence[FileDataset], folder: str | os.PathLike) -> str:
    """A series in a line: how to name it, and what it is."""
    first = images[0]
    frames = sum(int(image.get("NumberOfFrames") or 1) for image in images)
    return (
        f"{os.path.relpath(first.filename, folder)!r}: {_orientation(first)}, {frames} slices, "
        f"{_safe(first.get('SeriesDescription'))!r}, UID {_safe(first.SeriesInstanceUID)}"
    )


def _orientation(image: FileDataset) -> str:
    """ "axial", "coronal" or "sagittal": the plane of the body that is nearest; "unknown" where the header is bad."""
    try:
        cosines = np.array(frame_value(image, 0, "ImageOrientationPatient"), dtype=np.float64).reshape(2, 3)
    except Exception:  # of a series that may not be the one that is meant; it is judged when it is read
        return "unknown"
    return ("sagittal", "coronal", "axial")[int(np.abs(np.cross(*cosines)).argmax())]


def _safe(text: object) -> str:
    """A text of a header, for a message."""
    return "".join(character if character.isprintable() else "?" for character in str(text or ""))[:_LONGEST_TEXT]

"""A slice of a DICOM series, by the header of its file: where it lies, and how its stored values become HU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from monai.utils import optional_import

from .dicom_headers import frame_value
from .failures import VolumeError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

pydicom, _ = optional_import("pydicom")

_NOT_ORTHONORMAL = 1e-3
# What may stand under RescaleType where the values are HU; US is "unspecified".
_HU_TYPES = ("", "HU", "US")


class Plane(NamedTuple):
    """A slice, by the header of its file: `frame` is 0-based in the file, `shape` (rows, columns)."""

    path: str
    frame: int
    shape: tuple[int, int]
    position_mm: np.ndarray
    """Centre of the first pixel, LPS."""
    cosines: np.ndarray
    """[2, 3]: along which the columns advance (along a row), then the rows; LPS."""
    spacing_mm: tuple[float, float]
    """Between columns, between rows."""
    thickness_mm: float
    """0: not told."""
    slope: float
    intercept: float
    frame_of_reference: str

    def values(self) -> np.ndarray:
        """float64 [rows, columns]: the stored values by slope and intercept. See `frames`."""
        return self.scaled(self.frames())

    def scaled(self, frames: np.ndarray) -> np.ndarray:
        """The same of what `frames` gave, for files that hold several slices."""
        return frames[self.frame] * np.float64(self.slope) + self.intercept

    def frames(self) -> np.ndarray:
        """The stored values of the slice's file: [frames, rows, columns].

        Raises:
            VolumeError: `truncated_file` or `cannot_decode`.
        """
        compressed = False
        try:
            image = pydicom.dcmread(self.path)
            compressed = image.file_meta.TransferSyntaxUID.is_compressed
            frames = image.pixel_array
        except Exception as error:  # each decoder fails in its own way
            if compressed:
                raise VolumeError(
                    "cannot_decode",
                    f"{self.path!r} is compressed ({image.file_meta.TransferSyntaxUID.name}) and cannot be decoded, "
                    "for want of a decoder or because it is damaged; `python -m pip install pylibjpeg[all]`, or "
                    f"decompress the series (gdcmconv --raw) [{type(error).__name__}: {error}]",
                ) from error
            raise VolumeError(
                "truncated_file",
                f"{self.path!r} ends early or is damaged ({type(error).__name__}: {error}); copy it again",
            ) from error
        frames = frames.reshape(-1, *frames.shape[-2:])
        if frames.shape[1:] != self.shape or len(frames) <= self.frame:
            raise VolumeError(
                "truncated_file", f"{self.path!r} holds pixels {frames.shape}, not those of its header; copy it again"
            )
        return frames


def planes_of(header: FileDataset, in_hu: bool) -> list[Plane]:
    """The slices of a file.

    Args:
        header: of the file, `filename` among it.
        in_hu: False takes values of any scale; where slope and intercept are missing they are 1 and 0.

    Raises:
        VolumeError: `several_channels`, `bad_header`, `bad_spacing` or `not_hu`.
    """
    path = header.filename
    try:
        if header.SamplesPerPixel != 1 or header.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
            raise VolumeError(
                "several_channels",
                f"{path!r} is {header.PhotometricInterpretation} with {header.SamplesPerPixel} samples a pixel; a "
                "series has one grey value a pixel: move the file out of the folder",
            )
        planes = [_plane(header, frame, in_hu) for frame in range(int(header.get("NumberOfFrames") or 1))]
    except VolumeError:
        raise
    except Exception as error:  # missing, or not what the standard says: pydicom, int and float say it in many ways
        raise VolumeError(
            "bad_header",
            f"{path!r} has a header that is damaged or lacks something ({type(error).__name__}: {error}); copy it "
            "again, or move it out of the folder",
        ) from error
    for plane in planes:
        _check_plane(plane)
    return planes


def _plane(header: FileDataset, frame: int, in_hu: bool) -> Plane:
    unscaled = {} if in_hu else {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}

    def needed(keyword: str) -> Any:
        value = frame_value(header, frame, keyword)
        if value is None or value == "":
            if keyword in unscaled:
                return unscaled[keyword]
            remedy = "; without it the values are not HU" if keyword.startswith("Rescale") else ""
            raise VolumeError(
                "not_hu" if keyword.startswith("Rescale") else "bad_header",
                f"{header.filename!r} has no {keyword}{remedy}: export the series again",
            )
        return value

    kind = str(frame_value(header, frame, "RescaleType") or "").strip().upper()
    if in_hu and kind not in _HU_TYPES:
        raise VolumeError(
            "not_hu", f"{header.filename!r} holds values of the type {kind!r} (RescaleType), not HU; name a CT in HU"
        )
    between_rows, between_columns = (float(mm) for mm in needed("PixelSpacing"))
    return Plane(
        path=header.filename,
        frame=frame,
        shape=(int(header.Rows), int(header.Columns)),
        position_mm=np.array(needed("ImagePositionPatient"), dtype=np.float64).reshape(3),
        cosines=np.array(needed("ImageOrientationPatient"), dtype=np.float64).reshape(2, 3),
        spacing_mm=(between_columns, between_rows),
        thickness_mm=float(frame_value(header, frame, "SliceThickness") or 0),
        slope=float(needed("RescaleSlope")),
        intercept=float(needed("RescaleIntercept")),
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
    )


def _check_plane(plane: Plane) -> None:
    """What a slice says of itself is possible."""
    if not (np.isfinite(plane.spacing_mm).all() and min(plane.spacing_mm) > 0):
        raise VolumeError(
            "bad_spacing",
            f"{plane.path!r} has PixelSpacing {plane.spacing_mm} mm (columns, rows); both must be positive: export the "
            "series again",
        )
    off = np.abs(plane.cosines @ plane.cosines.T - np.eye(2)).max()
    if not (off < _NOT_ORTHONORMAL and np.isfinite(plane.position_mm).all()):
        raise VolumeError(
            "bad_header",
            f"{plane.path!r} has ImageOrientationPatient {plane.cosines.ravel().tolist()} at ImagePositionPatient "
            f"{plane.position_mm.tolist()}; two unit vectors at a right angle and a finite place are needed: export "
            "the series again",
        )
    if not (np.isfinite([plane.slope, plane.intercept]).all() and plane.slope):
        raise VolumeError(
            "not_hu",
            f"{plane.path!r} has RescaleSlope {plane.slope} and RescaleIntercept {plane.intercept}; finite numbers and "
            "a slope that is not 0 are needed: export the series again",
        )

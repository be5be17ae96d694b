"""A DICOM file of one frame, grey or coloured, of any modality: radiographs, ultrasound, photographs, single slices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from monai.utils import optional_import

from .failures import ImageError
from .stored_image import StoredImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

pydicom, _ = optional_import("pydicom")

_INVERTED = "MONOCHROME1"
_GREY = (_INVERTED, "MONOCHROME2")
_PALETTE = "PALETTE COLOR"


def read_dicom_image(path: str | os.PathLike) -> StoredImage:
    """The pixels of a DICOM file of one frame.

    Grey values are those of the modality (rescale slope and intercept applied). MONOCHROME1, where low is bright, is
    turned around within the range of its stored values, so that high is bright. Padding becomes the lowest value that
    is no padding. A palette and YBR become RGB.

    Args:
        path: the file.

    Raises:
        ImageError: "several_frames", "truncated_file" or "cannot_decode".
    """
    try:
        image = pydicom.dcmread(path)
        frames = int(image.get("NumberOfFrames") or 1)
    except Exception as error:  # pydicom has no error of its own for all that a damaged file can be
        raise ImageError(
            "truncated_file", f"{path} has a header that cannot be read ({error}); copy it again"
        ) from error
    if frames > 1:
        raise ImageError(
            "several_frames",
            f"{path} holds {frames} frames; one is legal: save the frame that is meant as a file of its own, or a "
            "stack as a NIfTI volume",
        )
    try:
        channels = _channels(image)
        spacing = [float(millimetres) for millimetres in image.get("PixelSpacing") or ()]
    except Exception as error:  # decoders are many, and have errors of their own
        raise ImageError(
            "cannot_decode",
            f"{path} cannot be decoded ({type(error).__name__}: {error}); it is damaged, or its compression needs a "
            "decoder: python -m pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
        ) from error
    known = len(spacing) == 2 and min(spacing) > 0
    return StoredImage(channels, spacing_mm=(spacing[0], spacing[1]) if known else None)


def _channels(image: Dataset) -> np.ndarray:
    """float32 [1 or 3, rows, columns]."""
    stored = pydicom.pixels.pixel_array(image)  # YBR comes as RGB
    if image.PhotometricInterpretation == _PALETTE:
        colours = pydicom.pixels.apply_color_lut(stored, image)[..., :3]
        return (colours / (np.iinfo(colours.dtype).max / 255.0)).astype(np.float32).transpose(2, 0, 1)
    if image.PhotometricInterpretation not in _GREY:
        return stored.astype(np.float32).transpose(2, 0, 1)
    return _grey(image, stored)[None].astype(np.float32)


def _grey(image: Dataset, stored: np.ndarray) -> np.ndarray:
    """float [rows, columns], high is bright."""
    signed = bool(image.PixelRepresentation)
    lowest = -(2 ** (image.BitsStored - 1)) if signed else 0
    ends = np.array([lowest, lowest + 2**image.BitsStored - 1], dtype=stored.dtype)
    values, ends = (pydicom.pixels.apply_modality_lut(part, image).astype(np.float64) for part in (stored, ends))
    if image.PhotometricInterpretation == _INVERTED:
        values = ends.sum() - values
    padding = image.get("PixelPaddingValue")
    if padding is not None:
        limits = sorted((padding, image.get("PixelPaddingRangeLimit", padding)))
        is_padding = (stored >= limits[0]) & (stored <= limits[1])
        if is_padding.any() and not is_padding.all():
            values[is_padding] = values[~is_padding].min()
    return values

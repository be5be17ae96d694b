"""PNG, JPEG, TIFF, BMP and GIF files, read by Pillow; PNG written."""

from __future__ import annotations

import os
import struct
import warnings
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .failures import ImageError
from .stored_image import UPRIGHT, StoredImage

# Only these decoders are used, whatever a file says that it is.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8")
_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
# 8192 x 8192: the largest mammograms have a third of it. In float32 and three channels it takes 0.8 GB.
_MOST_PIXELS = 2**26
_PHOTOMETRIC, _BITS, _WHITE_IS_ZERO = 262, 258, 0  # tags of TIFF
# Pillow turns a TIFF upright as it reads it, and drops the tag; this turns it back to how it is stored.
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def is_picture(path: str | os.PathLike) -> bool:
    """Whether a file begins as one of these formats does, or has the name of one."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(_BEGINNINGS) or os.fspath(path).lower().endswith(_ENDINGS)
    except OSError:  # who reads it says why it cannot be read
        return False


def read_picture(path: str | os.PathLike, *, is_label: bool = False) -> StoredImage:
    """The pixels of a file.

    Grey images keep their values (8, 12, 16 or 32 bits, floats); where a TIFF stores white as 0, it is turned around.
    Palette, CMYK, YCbCr and Lab become RGB of 8 bits, as do 16 bits of a coloured image, for Pillow reads no more of
    them. What is transparent lies on black. A coloured image whose channels are all equal is grey.

    Args:
        path: the file.
        is_label: a label map: the index of a palette is the label, transparency does not count, and channels must be
            equal.

    Raises:
        ImageError: see IMAGE_FAILURES.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is below Pillow's
            # A path would be mapped into memory, which Pillow 13 does in the wrong shape for a TIFF that it turns.
            with open(path, "rb") as file, Image.open(file, formats=_FORMATS) as image:
                return _read(path, image, is_label)
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            "not_an_image",
            f"{path} is empty, damaged, or no image; PNG, JPEG, TIFF, BMP and GIF are read (and DICOM, NIfTI)",
        ) from error
    except (OSError, EOFError, struct.error) as error:
        raise ImageError(
            "truncated_file", f"{path} ends early or is damaged ({error}); copy it again or export it anew"
        ) from error
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        if isinstance(error, ImageError):
            raise
        # Pillow has no error of its own for all that a damaged or forged file can be.
        raise ImageError(
            "cannot_decode", f"{path} cannot be decoded ({type(error).__name__}: {error}); export it anew as PNG"
        ) from error


def png_bytes(pixels: np.ndarray, compress_level: int = -1) -> bytes:
    """A PNG file of pixels uint8, grey [rows, columns], RGB or RGBA [rows, columns, 3 or 4].

    Args:
        pixels: its content.
        compress_level: of zlib, 1 is the fastest; -1 is zlib's own choice.
    """
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", compress_level=compress_level)
    return content.getvalue()


def _read(path: str | os.PathLike, image: Image.Image, is_label: bool) -> StoredImage:
    columns, rows = image.size
    if columns * rows > _MOST_PIXELS:
        raise _too_large(path, f"{columns} x {rows} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # of a photograph the further ones are views of the same, mostly small
        raise ImageError(
            "several_frames",
            f"{path} holds {frames} frames or pages; one image is legal: save the one that is meant as a file of its "
            "own, or a stack as a NIfTI volume",
        )
    orientation = int(image.getexif().get(ExifTags.Base.Orientation) or UPRIGHT)
    orientation = orientation if orientation in _TURN_BACK else UPRIGHT
    image.load()
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    bits = image.tag_v2.get(_BITS, (16,))[0] if white_is_zero else 0
    if image.format == "TIFF" and orientation != UPRIGHT and ExifTags.Base.Orientation not in image.tag_v2:
        image = image.transpose(_TURN_BACK[orientation])
    channels = _label_channels(image) if is_label else _channels(image)
    if white_is_zero and image.mode.startswith("I;16"):  # with fewer bits Pillow does it
        channels = 2.0**bits - 1 - channels
    if len(channels) > 1 and (channels == channels[:1]).all():
        channels = channels[:1]
    if is_label and len(channels) > 1:
        raise ImageError(
            "not_labels",
            f"the label {path} is coloured; save it grey or with a palette, one value for each label",
        )
    return StoredImage(channels, orientation)


def _channels(image: Image.Image) -> np.ndarray:
    """float32 [1 or 3, rows, columns]."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode != "L" and image.mode[0] not in "IF":
        image = image.convert("RGB")
    return _planes(image)


def _label_channels(image: Image.Image) -> np.ndarray:
    """float32 [C, rows, columns], without transparency."""
    if image.mode in ("LA", "La"):
        image = image.getchannel(0)
    elif image.mode == "PA":
        image = image.convert("P")
    elif image.mode in ("RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    return _planes(image)


def _planes(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image).astype(np.float32)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _too_large(path: str | os.PathLike, found: str) -> ImageError:
    return ImageError(
        "too_large",
        f"{path} is too large ({found}); at most {_MOST_PIXELS:,} pixels are legal: crop it or make it smaller",
    )

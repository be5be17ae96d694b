"""PNG, JPEG, TIFF, BMP and GIF: what each kind of pixel becomes, and what is said of a file that cannot be used."""

import struct
import zlib

import numpy as np
import pytest
from medvol_r1.images.failures import IMAGE_FAILURES, ImageError
from medvol_r1.images.picture_file import is_picture, png_bytes, read_picture
from PIL import ExifTags, Image

GREY = np.array([[0, 100, 255], [50, 150, 200]], dtype=np.uint8)
RED, GREEN, HALF = (255, 0, 0), (0, 255, 0), 128


def saved(folder, image, name="a.png", **options):
    path = folder / name
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def pixels(folder, image, name="a.png", is_label=False, **options):
    return read_picture(saved(folder, image, name, **options), is_label=is_label).pixels


def refused(path, **kwargs):
    with pytest.raises(ImageError) as caught:
        read_picture(path, **kwargs)
    assert caught.value.reason in IMAGE_FAILURES and path.name in str(caught.value)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.gif"])
def test_grey_of_eight_bits_keeps_its_values(tmp_path, name):
    np.testing.assert_array_equal(pixels(tmp_path, GREY, name), GREY[None])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_of_sixteen_bits_keeps_its_values(tmp_path, name):
    deep = GREY.astype(np.uint16) * 257  # 255 * 257 = 65535
    np.testing.assert_array_equal(pixels(tmp_path, deep, name), deep[None])


def test_floats_keep_their_values(tmp_path):
    values = np.array([[-1.5, 0.25]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(tmp_path, values, "a.tif"), values[None])


def test_a_tiff_that_stores_white_as_zero_is_turned_around(tmp_path):
    # Of 16 bits Pillow writes and reads the values as they are; of 8 bits it turns them around both times.
    found = pixels(tmp_path, GREY.astype(np.uint16), "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(found, 65535 - GREY[None].astype(np.float32))
    np.testing.assert_array_equal(pixels(tmp_path, GREY, "b.tif", tiffinfo={262: 0}), GREY[None])


def test_one_bit_is_black_and_white(tmp_path):
    np.testing.assert_array_equal(pixels(tmp_path, Image.fromarray(GREY > 120)), [[[0, 0, 255], [0, 255, 255]]])


def test_red_is_the_first_channel(tmp_path):
    found = pixels(tmp_path, Image.new("RGB", (2, 1), RED))
    np.testing.assert_array_equal(found, [[[255, 255]], [[0, 0]], [[0, 0]]])
    assert found.dtype == np.float32


def test_a_palette_is_its_colours_and_a_grey_one_is_grey(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    np.testing.assert_array_equal(pixels(tmp_path, image), [[[255, 0]], [[0, 255]], [[0, 0]]])
    image.putpalette([7, 7, 7, 90, 90, 90])
    np.testing.assert_array_equal(pixels(tmp_path, image), [[[7, 90]]])


def test_three_equal_channels_are_grey(tmp_path):
    np.testing.assert_array_equal(pixels(tmp_path, np.stack([GREY] * 3, axis=-1)), GREY[None])


def test_what_is_transparent_lies_on_black(tmp_path):
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (200, 0, 0, HALF))  # 200 * 128 / 255 = 100.4
    np.testing.assert_array_equal(pixels(tmp_path, image), [[[200, 0, 100]], [[0, 0, 0]], [[0, 0, 0]]])
    grey = Image.new("LA", (1, 1), (200, HALF))
    np.testing.assert_array_equal(pixels(tmp_path, grey), [[[100]]])


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (1, 1), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    np.testing.assert_array_equal(pixels(tmp_path, image, "a.tif"), [[[255]], [[0]], [[0]]])


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_as_stored_and_exif_says_how_they_stand(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :8] = 255
    image = read_picture(saved(tmp_path, stored, name, exif=exif))
    assert image.orientation == orientation and image.spacing_mm is None
    np.testing.assert_allclose(image.pixels[0], stored, atol=3)  # JPEG rounds


def test_an_impossible_orientation_counts_for_nothing(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 9
    assert read_picture(saved(tmp_path, GREY, "a.jpg", exif=exif)).orientation == 1


def test_what_a_file_is_says_its_beginning_or_its_name(tmp_path):
    path = saved(tmp_path, GREY).rename(tmp_path / "export")
    assert is_picture(path) and not is_picture(tmp_path / "absent.png") and not is_picture(tmp_path)
    (tmp_path / "empty.PNG").write_bytes(b"")
    (tmp_path / "ct.nii").write_bytes(struct.pack("<i", 348) + bytes(400))
    assert is_picture(tmp_path / "empty.PNG") and not is_picture(tmp_path / "ct.nii")


# Labels -------------------------------------------------------------------------------------------------------------


def test_labels_are_values_and_indices_of_a_palette(tmp_path):
    np.testing.assert_array_equal(pixels(tmp_path, GREY, is_label=True), GREY[None])
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    np.testing.assert_array_equal(pixels(tmp_path, image, is_label=True), [[[0, 1]]])
    np.testing.assert_array_equal(pixels(tmp_path, Image.fromarray(GREY > 120), is_label=True)[0], GREY > 120)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_labels_in_equal_channels_are_one_whatever_is_transparent(tmp_path, mode):
    image = Image.fromarray(GREY).convert(mode)
    if mode != "RGB":
        image.putalpha(0)
    np.testing.assert_array_equal(pixels(tmp_path, image, is_label=True), GREY[None])


def test_coloured_labels_are_refused(tmp_path):
    reason, message = refused(saved(tmp_path, Image.new("RGB", (2, 2), RED)), is_label=True)
    assert reason == "not_labels" and "save it grey or with a palette" in message


# What cannot be used ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png"])
def test_several_frames_are_refused(tmp_path, name):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY // 2)]
    reason, message = refused(saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:]))
    assert reason == "several_frames" and "holds 3 frames or pages; one image is legal" in message


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_a_file_that_ends_early_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path, noise, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reason, message = refused(path)
    assert reason in ("truncated_file", "cannot_decode", "not_an_image") and "export it anew" in message


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    reason, message = refused(tmp_path / "a.png")
    assert reason == "not_an_image" and "PNG, JPEG, TIFF, BMP and GIF are read" in message


def png_of_size(columns, rows):
    """A PNG that says it is as large as that, and ends behind saying so."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8193, 8192), (10_000, 9_000), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, recwarn, size):
    (tmp_path / "a.png").write_bytes(png_of_size(*size))
    reason, message = refused(tmp_path / "a.png")
    assert reason == "too_large" and "at most 67,108,864 pixels are legal" in message and not recwarn


def test_twenty_thousand_pixels_wide_is_an_image(tmp_path):
    wide = np.tile(np.arange(250, dtype=np.uint8), (3, 80))
    np.testing.assert_array_equal(pixels(tmp_path, wide), wide[None])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_bytes_changed_anywhere_are_an_image_or_a_reason(tmp_path):
    """Whatever a file holds, it is read or refused with a reason; nothing else is raised."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "a.tif", "a.gif", "a.bmp"):
        path = saved(tmp_path, GREY, name)
        content = bytearray(path.read_bytes())
        for _ in range(60):
            broken = content.copy()
            broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
            path.write_bytes(broken)
            try:
                assert read_picture(path).pixels.ndim == 3
            except ImageError as error:
                assert error.reason in IMAGE_FAILURES


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("compress_level", [-1, 1])
def test_what_is_written_is_read_back(tmp_path, shape, compress_level):
    written = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(written, compress_level))
    planes = written[None] if written.ndim == 2 else written.transpose(2, 0, 1)
    np.testing.assert_array_equal(read_picture(path).pixels, planes)

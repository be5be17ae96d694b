"""A DICOM file of one frame: what is bright is high, colours are RGB, and what is said of one that cannot be used."""

import numpy as np
import pytest
from medvol_r1.images.failures import ImageError

pytest.importorskip("pydicom", reason="needs the extra `dicom`")

from dicom_images import write_dicom  # noqa: E402
from medvol_r1.images.dicom_image import read_dicom_image  # noqa: E402

VALUES = np.array([[0, 100, 4095], [50, 1000, 2000]], dtype=np.uint16)


def pixels(folder, stored, **changes):
    return read_dicom_image(write_dicom(folder / "a.dcm", stored, **changes)).pixels


def refused(path):
    with pytest.raises(ImageError) as caught:
        read_dicom_image(path)
    assert path.name in str(caught.value)
    return caught.value.reason, str(caught.value)


def test_grey_values_are_those_of_the_modality(tmp_path):
    np.testing.assert_array_equal(pixels(tmp_path, VALUES), VALUES[None])
    rescaled = pixels(tmp_path, VALUES, RescaleSlope="0.5", RescaleIntercept="-10")
    np.testing.assert_array_equal(rescaled, VALUES[None] / 2 - 10)
    signed = VALUES.astype(np.int16) - 500
    np.testing.assert_array_equal(pixels(tmp_path, signed), signed[None])


def test_where_low_is_bright_it_is_turned_around(tmp_path):
    inverted = pixels(tmp_path, VALUES, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(inverted, 4095 - VALUES[None].astype(np.float32))  # 0..4095 in 12 bits
    rescaled = {"RescaleSlope": "2", "RescaleIntercept": "5", "PhotometricInterpretation": "MONOCHROME1"}
    eight = np.array([[0, 255]], dtype=np.uint8)
    # 5 and 2 * 255 + 5 = 515 change places.
    np.testing.assert_array_equal(pixels(tmp_path, eight, **rescaled), [[[515, 5]]])
    signed = np.array([[-32768, 32767]], dtype=np.int16)
    inverted = pixels(tmp_path, signed, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(inverted, [[[32767, -32768]]])


def test_padding_is_dark_whatever_it_holds(tmp_path):
    np.testing.assert_array_equal(pixels(tmp_path, VALUES, PixelPaddingValue=4095)[0], [[0, 100, 0], [50, 1000, 2000]])
    # Of MONOCHROME1 the padding 0 would be the brightest; 65535 - 4095 is the lowest of the others.
    inverted = pixels(tmp_path, VALUES, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    assert inverted[0, 0, 0] == inverted[0, 0, 2] == 65535 - 4095


def test_red_is_the_first_channel(tmp_path):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(pixels(tmp_path, red)[:, 0, 0], [200, 0, 0])


def test_ybr_and_a_palette_become_rgb(tmp_path):
    ybr = np.full((2, 2, 3), [76, 85, 255], np.uint8)  # of (255, 0, 0): 0.299 * 255 = 76, 128 - 43 = 85, 128 + 127
    red = pixels(tmp_path, ybr, PhotometricInterpretation="YBR_FULL")[:, 0, 0]
    np.testing.assert_allclose(red, [255, 0, 0], atol=2)
    palette = {f"{colour}PaletteColorLookupTableDescriptor": [2, 0, 8] for colour in ("Red", "Green", "Blue")}
    tables = {"Red": b"\x00\xff", "Green": b"\x00\x80", "Blue": b"\x00\x00"}
    palette |= {f"{colour}PaletteColorLookupTableData": table for colour, table in tables.items()}
    indices = np.array([[0, 1]], dtype=np.uint8)
    found = pixels(tmp_path, indices, PhotometricInterpretation="PALETTE COLOR", **palette)
    np.testing.assert_allclose(found[:, 0], [[0, 255], [0, 128], [0, 0]], atol=0.5)


def test_spacing_is_read_where_it_is_known(tmp_path):
    assert read_dicom_image(write_dicom(tmp_path / "a.dcm", VALUES)).spacing_mm is None
    path = write_dicom(tmp_path / "b.dcm", VALUES, PixelSpacing=[0.5, 0.25])
    assert read_dicom_image(path).spacing_mm == (0.5, 0.25)
    assert read_dicom_image(write_dicom(tmp_path / "c.dcm", VALUES, PixelSpacing=[0, 0])).spacing_mm is None


def test_several_frames_are_refused(tmp_path):
    clip = write_dicom(tmp_path / "a.dcm", VALUES, NumberOfFrames=12)
    reason, message = refused(clip)
    assert reason == "several_frames" and "holds 12 frames; one is legal" in message


def test_a_file_that_ends_early_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", VALUES)
    content = path.read_bytes()
    for end in (len(content) - 4, len(content) // 2, 140):
        path.write_bytes(content[:end])
        assert refused(path)[0] in ("cannot_decode", "truncated_file")

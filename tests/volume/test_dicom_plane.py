"""What the header and the pixels of one slice say, and damage in them."""

import numpy as np
import pytest
from dicom_files import affine_of, check_a_slice_is_refused, ct_values, dicom_failure, file_of, write_series
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.io import read_volume
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless


def test_each_slice_has_its_own_rescale(tmp_path):
    write_series(tmp_path, RescaleSlope=lambda index: index + 1, RescaleIntercept=lambda index: -1000 - index)
    stored = ct_values().astype(np.int32) + 1024
    expected = stored * (np.arange(6) + 1) - 1000 - np.arange(6)
    assert np.array_equal(read_volume(tmp_path)[0], expected)


def test_signed_values_of_twelve_bits(tmp_path):
    values = np.clip(ct_values(), -2048, 2047)
    pixels = [values[..., index].T.tobytes() for index in range(6)]
    write_series(
        tmp_path, values, PixelData=lambda index: pixels[index], PixelRepresentation=1, RescaleIntercept=0,
        BitsStored=12, HighBit=11,
    )  # fmt: skip
    assert np.array_equal(read_volume(tmp_path)[0], values)


def test_what_is_only_for_display_does_not_change_hu(tmp_path):
    """MONOCHROME1 says that small values are shown bright; a negative distance is a vendor's word for the order."""
    write_series(tmp_path, PhotometricInterpretation="MONOCHROME1", SpacingBetweenSlices=-2.5)
    voxels, affine = read_volume(tmp_path)
    assert np.array_equal(voxels, ct_values())
    np.testing.assert_allclose(affine, affine_of())


def test_a_compressed_series_is_decoded(tmp_path):
    for image, index in zip(write_series(tmp_path), range(6), strict=True):
        image.compress(RLELossless)
        image.save_as(tmp_path / file_of(index), enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path)[0], ct_values())


# What is refused -----------------------------------------------------------------------------------------------------

WRONG = {
    "colour": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "several_channels", "is RGB with 3 samples"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "several_channels", "one grey value a pixel"),
    "no slope": ({"RescaleSlope": None}, "not_hu", "has no RescaleSlope; without it the values are not HU"),
    "no intercept": ({"RescaleIntercept": None}, "not_hu", "has no RescaleIntercept"),
    "slope 0": ({"RescaleSlope": 0}, "not_hu", r"RescaleSlope 0\.0"),
    "not HU": ({"RescaleType": "EDW"}, "not_hu", "of the type 'EDW'"),
    "no position": ({"ImagePositionPatient": None}, "bad_header", "has no ImagePositionPatient"),
    "no orientation": ({"ImageOrientationPatient": None}, "bad_header", "has no ImageOrientationPatient"),
    "not orthonormal": (
        {"ImageOrientationPatient": ["1", "0", "0", "0.5", "1", "0"]}, "bad_header", "two unit vectors",
    ),
    "no spacing": ({"PixelSpacing": None}, "bad_header", "has no PixelSpacing"),
    "negative spacing": ({"PixelSpacing": [0.7, -0.8]}, "bad_spacing", "both must be positive"),
    "no rows": ({"Rows": None}, "bad_header", "has no Rows: it ends in its header"),
    "short pixels": ({"PixelData": bytes(100)}, "truncated_file", "ends early or is damaged .*copy it again"),
    "no pixels": ({"PixelData": None}, "truncated_file", "ends early or is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_slice_that_alone_is_wrong_is_named(tmp_path, name):
    check_a_slice_is_refused(tmp_path, *WRONG[name])


def test_a_header_with_a_word_for_a_number_is_named(tmp_path):
    write_series(tmp_path)
    content = (tmp_path / file_of(3)).read_bytes()
    at = content.index(b"DS", content.index(b"\x28\x00\x53\x10")) + 4  # the value of RescaleSlope, "1 "
    (tmp_path / file_of(3)).write_bytes(content[:at] + b"a " + content[at + 2 :])
    reason, message = dicom_failure(tmp_path)
    assert reason == "bad_header" and file_of(3) in message and "damaged or lacks something" in message


def test_damage_anywhere_in_a_header_is_a_reason(tmp_path):
    """A byte of a slice's file changed, or the file cut there: a volume, or a VolumeError."""
    write_series(tmp_path, ct_values((6, 5, 3)))
    path, rng = tmp_path / file_of(1), np.random.default_rng(0)
    whole = path.read_bytes()
    for place in rng.integers(132, len(whole) - 60, 60):
        for damaged in (whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(damaged)
            try:
                read_volume(tmp_path)
            except VolumeError as error:
                assert "Doe" not in str(error)
    vr = whole.index(b"UI", whole.index(b"\x20\x00\x0e\x00"))  # of SeriesInstanceUID
    path.write_bytes(whole[:vr] + b"Uv" + whole[vr + 2 :])
    assert dicom_failure(tmp_path)[0] == "bad_header"


def test_a_cut_file_is_named(tmp_path):
    write_series(tmp_path)
    whole = (tmp_path / file_of(5)).read_bytes()
    (tmp_path / file_of(5)).write_bytes(whole[:-50])
    reason, message = dicom_failure(tmp_path)
    assert reason == "truncated_file" and file_of(5) in message and "copy it again" in message


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_a_series_that_cannot_be_decoded_names_its_compression(tmp_path, syntax):
    """There is no decoder for the first, and what is here for the second is no JPEG 2000."""
    write_series(tmp_path)
    for index in range(6):
        image = dcmread(tmp_path / file_of(index))
        image.file_meta.TransferSyntaxUID = syntax
        image.PixelData = encapsulate([b"\xff\xd8not a picture"])
        image["PixelData"].is_undefined_length = True
        image.save_as(tmp_path / file_of(index), enforce_file_format=True)
    reason, message = dicom_failure(tmp_path)
    assert reason == "cannot_decode" and file_of(0) in message
    assert syntax.name in message and "pip install pylibjpeg[all]" in message

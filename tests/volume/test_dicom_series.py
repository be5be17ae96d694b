"""From the slices of a series to a volume, or why not."""

import numpy as np
import pytest
from dicom_files import (
    INTERCEPT,
    affine_of,
    check_a_slice_is_refused,
    ct_values,
    dicom_failure,
    file_of,
    write_enhanced,
    write_nifti,
    write_series,
)
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.dicom_series import find_series, series_image
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.geometry import SliceGeometry, restore_mask
from medvol_r1.volume.io import LoadVolumed, read_volume
from medvol_r1.volume.transforms import LoadSlicesd, OrientByAffined, SampleSlicesd
from monai.transforms import Compose
from nibabel import affines
from pydicom.uid import generate_uid

GEOMETRIES = {
    "plain": affine_of(),
    "feet last": affine_of(flip_z=True),
    "oblique": affine_of(turn_degrees=20),
    "tilted gantry": affine_of(tilt_degrees=18),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_series_and_a_nifti_of_one_phantom_show_the_same_slices(tmp_path, name):
    """And a mask of the shown slices comes back to the same voxels in the patient."""
    values = make_phantom(1_000_000, "organs", shape=(40, 36, 12), canonical=True).image.round().astype(np.int16)
    write_series(tmp_path / "series", values, GEOMETRIES[name])
    write_nifti(tmp_path / "ct.nii.gz", values, GEOMETRIES[name])
    chain = Compose([LoadVolumed("image"), OrientByAffined("image"), SampleSlicesd("image", 6)])
    series, nifti = (chain({"image": str(tmp_path / path)})["image"] for path in ("series", "ct.nii.gz"))
    assert np.array_equal(series.numpy(), nifti.numpy())
    lazy = LoadSlicesd("image", 6)({"image": str(tmp_path / "series")})["image"]
    assert np.array_equal(series.numpy(), lazy.numpy())
    np.testing.assert_array_equal(series.affine, lazy.affine)
    np.testing.assert_allclose(series.affine, nifti.affine, atol=1e-4)
    shown = np.random.default_rng(0).random(series.shape[1:])
    of_series, of_nifti = (restore_mask(shown, SliceGeometry.from_meta(image.meta)) for image in (series, nifti))
    # The series is stored along its normal; with its feet last, the NIfTI is not.
    assert np.array_equal(of_series, of_nifti[..., ::-1] if name == "feet last" else of_nifti)


def test_the_axial_slices_of_coronal_images(tmp_path):
    """Columns to the left, rows downwards, images from anterior to posterior: axis 1 is the axial one."""
    affine = np.array([[-0.8, 0, 0, 120.5], [0, 0, -2.5, 98.25], [0, -0.7, 0, -431], [0, 0, 0, 1]])
    write_series(tmp_path / "series", affine=affine)
    write_nifti(tmp_path / "ct.nii.gz", ct_values(), affine)
    loaded = [LoadSlicesd("image", 4)({"image": str(tmp_path / path)})["image"] for path in ("series", "ct.nii.gz")]
    assert loaded[0].shape == (1, 4, 6, 12) and np.array_equal(*loaded)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_affine_puts_each_slice_where_its_header_says(tmp_path, name):
    values, affine = ct_values(), GEOMETRIES[name]
    write_series(tmp_path, values, affine)
    voxels, found = read_volume(tmp_path)
    assert voxels.dtype == np.float32 and found.dtype == np.float64
    back = np.linalg.inv(affine) @ found  # voxel of the series -> of the volume that was written
    for index in ((0, 0, 0), (11, 0, 2), (3, 9, 5)):
        place = affines.apply_affine(back, index)
        np.testing.assert_allclose(place, place.round(), atol=1e-6)
        assert voxels[index] == values[tuple(place.round().astype(int))]


def test_a_copy_of_a_slice_is_left_out(tmp_path):
    write_series(tmp_path)
    (tmp_path / "copy").write_bytes((tmp_path / file_of(2)).read_bytes())
    voxels, affine = read_volume(tmp_path)
    assert np.array_equal(voxels, ct_values())
    np.testing.assert_allclose(affine, affine_of())


def test_one_slice_is_as_thick_as_it_says(tmp_path):
    write_series(tmp_path / "one", ct_values((12, 10, 1)))
    np.testing.assert_allclose(read_volume(tmp_path / "one")[1], affine_of())
    write_series(tmp_path / "none", ct_values((12, 10, 1)), SliceThickness=None)
    reason, message = dicom_failure(tmp_path / "none")
    assert reason == "bad_spacing" and "one slice" in message and "SliceThickness" in message


def test_an_enhanced_image_is_a_series(tmp_path):
    write_enhanced(tmp_path / "ct.dcm", ct_values(), affine_of(turn_degrees=20), order=(3, 0, 5, 1, 4, 2))
    for path in (tmp_path, tmp_path / "ct.dcm"):
        voxels, affine = read_volume(path)
        assert np.array_equal(voxels, ct_values())
        np.testing.assert_allclose(affine, affine_of(turn_degrees=20), atol=1e-9)


def test_positions_may_be_rounded(tmp_path):
    """0.625 mm apart, told with one digit: off by 0.05 mm at most, 0.08 of a voxel."""
    affine = affine_of((0.8, 0.7, 0.625))
    place = [["-120.5", "-98.25", f"{-431 + 0.625 * index:.1f}"] for index in range(6)]
    write_series(tmp_path, affine=affine, ImagePositionPatient=lambda index: place[index])
    np.testing.assert_allclose(read_volume(tmp_path)[1], affine, atol=0.03)


@pytest.mark.parametrize("affine", GEOMETRIES.values(), ids=GEOMETRIES)
def test_as_nifti_it_has_the_affine_of_the_series(tmp_path, affine):
    write_series(tmp_path, affine=affine)
    series = find_series(tmp_path)
    image = series_image(series)
    np.testing.assert_allclose(image.get_sform(), series.affine, atol=1e-4)
    # A qform has no shear: with a tilted gantry it would lie.
    sheared = affine is GEOMETRIES["tilted gantry"]
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0 if sheared else 1)
    if not sheared:
        np.testing.assert_allclose(image.get_qform(), series.affine, atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm"


# What is refused -----------------------------------------------------------------------------------------------------

UNLIKE = {
    "Rows": ({"Rows": 9}, "mixed_slices", r"sizes \(rows, columns\): \(10, 12\) in .*, \(9, 12\) in"),
    "spacing": ({"PixelSpacing": [0.7, 0.9]}, "mixed_slices", r"PixelSpacing \(columns, rows\)"),
    "orientation": ({"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]}, "mixed_slices", "orientations"),
    "frame of reference": ({"FrameOfReferenceUID": "1.2.3"}, "mixed_slices", "FrameOfReferenceUID: .* 1.2.3 in"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE)
def test_a_slice_that_does_not_fit_is_named(tmp_path, name):
    check_a_slice_is_refused(tmp_path, *UNLIKE[name])


@pytest.mark.parametrize("missing", [(2,), (2, 3), (1, 4)])
def test_a_missing_slice_is_counted_and_placed(tmp_path, missing):
    write_series(tmp_path, ct_values((12, 10, 8)))
    for index in missing:
        (tmp_path / file_of(index)).unlink()
    reason, message = dicom_failure(tmp_path)
    assert reason == "missing_slices"
    number, plural = len(missing), "s" * (len(missing) > 1)
    width = 7.5 if missing == (2, 3) else 5
    assert f"the series of {tmp_path} lacks {number} slice{plural}: {width:g} mm between" in message
    assert file_of(missing[0] - 1) in message and "2.5 mm is the distance of the others" in message
    assert "copy the whole series again" in message


@pytest.mark.parametrize("heights", [(0, 2.5, 5, 8.5, 11, 13.5), (0, 2.5, 5, 6, 7, 8)])
def test_slices_at_odd_distances_are_refused(tmp_path, heights):
    place = [["-120.5", "-98.25", f"{-431 + height}"] for height in heights]
    write_series(tmp_path, ImagePositionPatient=lambda index: place[index])
    reason, message = dicom_failure(tmp_path)
    assert reason == "uneven_slices" and "do not lie on a grid" in message and "at most 0.1 is legal" in message


def test_slices_that_slide_are_refused(tmp_path):
    """By 10 mm a slice that is 2.5 mm thick: no gantry tilts so far."""
    place = [["-120.5", f"{-98.25 + 10 * index}", f"{-431 + 2.5 * index}"] for index in range(6)]
    write_series(tmp_path, ImagePositionPatient=lambda index: place[index])
    reason, message = dicom_failure(tmp_path)
    assert reason == "uneven_slices" and "ImagePositionPatient is wrong" in message


def test_two_phases_in_one_series_are_refused(tmp_path):
    series = generate_uid()
    write_series(tmp_path / "early", series=series)
    write_series(tmp_path / "late", ct_values() + 1, series=series)
    reason, message = dicom_failure(tmp_path)
    assert reason == "duplicate_slices"
    assert f"early/{file_of(0)}" in message and f"late/{file_of(0)}" in message and "several phases" in message


MR, PET = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"


@pytest.mark.parametrize(
    "slope, changes",
    [
        (1, {"SOPClassUID": MR, "RescaleSlope": None, "RescaleIntercept": None}),
        (2, {"SOPClassUID": PET, "RescaleSlope": 2, "RescaleIntercept": 0, "RescaleType": "BQML"}),
    ],
)
def test_a_series_of_another_modality_is_a_volume_on_its_grid(tmp_path, slope, changes):
    affine = affine_of(turn_degrees=20)
    write_series(tmp_path, affine=affine, **changes)
    voxels, found = read_volume(tmp_path, intensity="percentiles")
    assert np.array_equal(voxels, slope * (ct_values() - INTERCEPT))  # of what is stored
    np.testing.assert_allclose(found, affine, atol=1e-6)
    reason, message = dicom_failure(tmp_path)
    assert reason == "no_ct_series" and "set `intensity` to percentiles" in message


def test_a_ct_goes_before_the_other_modality_of_its_folder(tmp_path):
    write_series(tmp_path / "ct")
    write_series(tmp_path / "mr", ct_values() + 500, SOPClassUID=MR, Modality="MR")
    assert np.array_equal(read_volume(tmp_path, intensity="full_range")[0], ct_values())


def test_several_series_of_mr_are_named_by_their_folders(tmp_path):
    for name in ("t1", "t2"):
        write_series(tmp_path / name, SOPClassUID=MR)
    with pytest.raises(VolumeError, match="holds 2 series, 2 of them axial, .*: name its folder, or move it") as caught:
        read_volume(tmp_path, intensity="percentiles")
    assert caught.value.reason == "several_series"
    assert read_volume(tmp_path / "t1", intensity="percentiles")[0].shape == (12, 10, 6)


def test_a_constant_series_is_refused_like_a_nifti(tmp_path):
    write_series(tmp_path, np.full((12, 10, 6), -1000, np.int16))
    assert dicom_failure(tmp_path)[0] == "constant_volume"


def test_values_that_are_not_like_hu_are_told(tmp_path):
    write_series(tmp_path, ct_values() + 1100, RescaleIntercept=0)
    with pytest.warns(UserWarning, match="do not look like HU"):
        read_volume(tmp_path)


def test_a_label_is_nifti(tmp_path):
    write_series(tmp_path)
    with pytest.raises(ValueError, match="is a folder; a .nii or .nii.gz file is needed"):
        read_volume(tmp_path, is_label=True)


def test_a_nifti_label_lies_on_a_series(tmp_path):
    label = (ct_values() > 0).astype(np.uint8)
    write_series(tmp_path / "ct", affine=affine_of(tilt_degrees=18))
    path = write_nifti(tmp_path / "label.nii.gz", label, affine_of(tilt_degrees=18))
    loaded = LoadVolumed(("image", "label"))({"image": tmp_path / "ct", "label": path})
    assert np.array_equal(loaded["label"][0], label)
    assert loaded["image"].meta["filename_or_obj"] == str(tmp_path / "ct")


def test_a_label_in_the_order_of_another_tool_says_so(tmp_path):
    """dcm2niix stores the rows from the last to the first."""
    write_series(tmp_path / "ct")
    turned = affine_of() @ np.array([[1, 0, 0, 0], [0, -1, 0, 9], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = write_nifti(tmp_path / "label.nii.gz", (ct_values()[:, ::-1] > 0).astype(np.uint8), turned)
    with pytest.raises(ValueError, match=r"on one grid, but .* \(LAS and LPS; dcm2niix .*name the volume that it"):
        LoadVolumed(("image", "label"))({"image": tmp_path / "ct", "label": path})

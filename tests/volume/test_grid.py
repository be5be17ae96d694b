"""Where a volume lies: headers that are legal, those that are not, and labels off their image."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.io import LoadVolumed, read_volume
from nifti_files import AFFINE, PIXDIM, QFORM_CODE, QUATERNION, SROW, ct_voxels, failure, patch, write


def test_sform_goes_before_qform(tmp_path):
    header = nib.Nifti1Header()
    header.set_qform(np.diag([9.0, 9, 9, 1]), code=1)
    header.set_sform(AFFINE, code=2)
    image = nib.Nifti1Image(ct_voxels(), None, header)
    image.to_filename(tmp_path / "ct.nii")
    with pytest.warns(
        UserWarning,
        match=r"an sform \(code 2\) and a qform \(code 1\), and they disagree by up to \d+ mm "
        r"\(axes LPS and RAS\); the sform was taken",
    ):
        np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii")[1], AFFINE)


# Half of the smallest voxel edge, 0.75 mm, is 0.375 mm: closer, the forms mean the same voxels.
@pytest.mark.parametrize(("shift_mm", "warned"), [(0.0, False), (0.3, False), (0.5, True)])
def test_forms_that_agree_up_to_half_a_voxel_are_no_news(tmp_path, shift_mm, warned):
    image = nib.Nifti1Image(ct_voxels(), AFFINE)
    moved = AFFINE.copy()
    moved[1, 3] += shift_mm
    image.set_qform(moved, code=1)
    image.set_sform(AFFINE, code=1)
    image.to_filename(tmp_path / "ct.nii")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_volume(tmp_path / "ct.nii")
    assert [warning for warning in caught if "disagree by up to 0.5 mm" in str(warning.message)] == caught
    assert bool(caught) is warned


def long_quaternion(path, *codes):
    """b, c, d of a quaternion that is slightly longer than 1: 1.0002 at the second place of the square root."""
    return patch(patch(path, QUATERNION, "fff", 0.0, 1.0001, 0.0), QFORM_CODE, "hh", *codes)


def test_a_quaternion_slightly_over_one_is_a_bad_header(tmp_path):
    reason, message = failure(long_quaternion(write(tmp_path / "ct.nii", ct_voxels()), 1, 0))
    assert reason == "bad_header"
    assert "cannot be read (ValueError: w2 should be positive" in message and "the quaternion of its qform" in message


def test_a_bad_quaternion_beside_an_sform_warns(tmp_path):
    path = long_quaternion(write(tmp_path / "ct.nii", ct_voxels()), 1, 2)
    with pytest.warns(UserWarning, match=r"the qform cannot be read \(w2 should be .*the sform was taken"):
        np.testing.assert_array_equal(read_volume(path)[1], AFFINE)


def test_qform_alone_is_used(tmp_path):
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), QFORM_CODE, "hh", 1, 0)
    np.testing.assert_allclose(read_volume(path)[1], AFFINE, rtol=1e-6, atol=1e-6)


def test_no_orientation_warns(tmp_path):
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), QFORM_CODE, "hh", 0, 0)
    with pytest.warns(UserWarning, match=r"ct\.nii has neither sform nor qform.*left and right may be swapped"):
        read_volume(path)


def test_non_orthogonal_axes_are_legal(tmp_path):
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.9  # a tilted gantry: slices slide along y
    path = write(tmp_path / "ct.nii", ct_voxels(), sheared)
    np.testing.assert_allclose(read_volume(path)[1], sheared, rtol=1e-6)


def test_two_dimensional_image(tmp_path):
    reason, message = failure(write(tmp_path / "ct.nii", ct_voxels((6, 5))))
    assert reason == "not_3d"
    assert "has shape (6, 5); a volume [X,Y,Z] is needed" in message


def test_several_channels(tmp_path):
    reason, message = failure(write(tmp_path / "ct.nii", ct_voxels((6, 5, 4, 3))))
    assert reason == "several_channels"
    assert "has shape (6, 5, 4, 3): 3 channels or time points; exactly one is legal" in message


def test_colour_voxels(tmp_path):
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    reason, message = failure(write(tmp_path / "ct.nii", rgb))
    assert reason == "several_channels"
    assert "one real number a voxel is legal" in message


@pytest.mark.parametrize("spacing", [0.0, -2.5, np.nan, np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_bad_spacing_in_the_header(tmp_path, spacing, axis):
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), PIXDIM + 4 * (axis + 1), "f", spacing)
    reason, message = failure(path)
    assert reason == "bad_spacing"
    assert f"{spacing}" in message and "all must be positive: correct the header" in message


@pytest.mark.parametrize("spacing", [0.0, -2.5])
def test_bad_spacing_in_a_compressed_file(tmp_path, spacing):
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), PIXDIM + 12, "f", spacing)
    zipped = tmp_path / "ct.nii.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert failure(zipped)[0] == "bad_spacing"


def test_zero_column_of_the_affine(tmp_path):
    # srow_x, srow_y, srow_z: the second column is zero
    rows = (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0)
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), SROW, "12f", *np.ravel(rows))
    reason, message = failure(path)
    assert reason == "bad_spacing"
    assert "affine columns of length [1.0, 0.0, 1.0] mm" in message


@pytest.mark.parametrize(
    "rows",
    [
        ((1, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0)),  # two axes coincide
        ((1, 0, 1, 0), (0, 1, 1, 0), (0, 0, 0, 0)),  # three axes in a plane
        ((1, 0, 0, np.nan), (0, 1, 0, 0), (0, 0, 1, 0)),
    ],
)
def test_singular_affine(tmp_path, rows):
    path = patch(write(tmp_path / "ct.nii", ct_voxels()), SROW, "12f", *np.ravel(rows))
    reason, message = failure(path)
    assert reason == "singular_affine"
    assert "its three axes must be independent" in message


def test_label_on_its_image(tmp_path):
    image, label = write(tmp_path / "ct.nii", ct_voxels()), tmp_path / "label.nii"
    nudged = AFFINE.copy()
    nudged[0, 3] += 0.05  # below a tenth of the 0.75 mm voxel: rounding of another tool
    write(label, np.ones((6, 5, 4), dtype=np.uint8), nudged)
    # Whatever the order of the keys, the label is compared with the image.
    for keys in (("image", "label"), ("label", "image")):
        loaded = LoadVolumed(keys)({"image": image, "label": label})
        assert loaded["label"].shape == (1, 6, 5, 4)


def test_label_of_another_shape(tmp_path):
    image, label = write(tmp_path / "ct.nii", ct_voxels()), tmp_path / "label.nii"
    write(label, np.ones((6, 5, 3), dtype=np.uint8))
    with pytest.raises(
        VolumeError, match=r"label .*label\.nii and image .*ct\.nii have shapes \(6, 5, 3\) and \(6, 5, 4\)"
    ):
        LoadVolumed(("image", "label"))({"image": image, "label": label})


@pytest.mark.parametrize(
    ("change", "shift_mm"),
    [
        (lambda a: a[0].__setitem__(3, a[0, 3] + 3), "3"),  # moved by 3 mm
        # spacing 2.5 -> 3 mm: the last of 4 slices is off by 3 * 0.5 mm
        (lambda a: a[2].__setitem__(2, 3.0), "1.5"),
        # flipped along x with the same origin: the last of 6 columns is off by 2 * 5 * 0.75 mm
        (lambda a: a[0].__setitem__(0, 0.75), "7.5"),
    ],
)
def test_label_of_another_affine(tmp_path, change, shift_mm):
    other = AFFINE.copy()
    change(other)
    image = write(tmp_path / "ct.nii", ct_voxels())
    label = write(tmp_path / "label.nii", np.ones((6, 5, 4), dtype=np.uint8), other)
    with pytest.raises(VolumeError, match=rf"a corner is off by {shift_mm} mm, at most 0\.075 mm is legal") as caught:
        LoadVolumed(("image", "label"))({"image": image, "label": label})
    assert caught.value.reason == "label_mismatch"

"""Reading volumes: what is legal, and for each bad volume its reason and its message."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.volume.io import LoadVolumed, nifti_stem, read_volume
from monai.data import MetaTensor
from monai.transforms import Compose
from nifti_files import AFFINE, ct_voxels, failure, write


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_values_and_affine_are_the_files(tmp_path, name):
    path = write(tmp_path / name, ct_voxels())
    loaded = LoadVolumed("image")({"image": str(path), "case": "a"})
    assert loaded["case"] == "a"
    image = loaded["image"]
    assert isinstance(image, MetaTensor) and image.shape == (1, 6, 5, 4) and str(image.dtype) == "torch.float32"
    np.testing.assert_array_equal(image.numpy()[0], ct_voxels())
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
    assert image.meta["filename_or_obj"] == str(path)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 1000], [1024, 2048]]], dtype=np.uint16), AFFINE)
    image.header.set_slope_inter(1, -1024)
    image.to_filename(tmp_path / "ct.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # unsigned on disk, HU after the intercept: nothing to warn of
        voxels, _ = read_volume(tmp_path / "ct.nii")
    assert voxels.tolist() == [[[-1024, -24], [0, 1024]]]


@pytest.mark.parametrize("shape", [(6, 5, 4, 1), (6, 5, 4, 1, 1)])
def test_one_channel_in_four_dimensions_is_dropped(tmp_path, shape):
    path = write(tmp_path / "ct.nii", ct_voxels(shape))
    voxels, _ = read_volume(path)
    np.testing.assert_array_equal(voxels, ct_voxels((6, 5, 4)))


@pytest.mark.parametrize("num_slices", [1, 1000])
def test_one_slice_and_a_thousand_are_legal(tmp_path, num_slices):
    path = write(tmp_path / "ct.nii.gz", ct_voxels((8, 8, num_slices), np.float32))
    assert read_volume(path)[0].shape == (8, 8, num_slices)


def test_missing_file(tmp_path):
    reason, message = failure(tmp_path / "absent.nii.gz")
    assert reason == "missing_file"
    assert "does not exist; correct the path of `image`" in message


def test_folder(tmp_path):
    pytest.importorskip("pydicom", reason="a folder is DICOM")
    reason, message = failure(tmp_path)
    assert reason == "no_ct_series"
    assert "name the folder of a CT series, or a .nii or .nii.gz file" in message


NOT_NIFTI = {
    "notes.txt": b"no volume at all",
    "text.nii": b"not a volume " * 100,
    "plain_text.nii.gz": b"not a volume " * 100,
    "zipped_text.nii.gz": gzip.compress(b"not a volume " * 100),
    "cut_header.nii.gz": gzip.compress(bytes(range(256)) * 4)[:100],
    "empty.nii": b"",
    "empty.nii.gz": b"",
}


# By name alone: gzip writes the time into its bytes, and workers that run in parallel must collect the same ids.
@pytest.mark.parametrize("name", NOT_NIFTI)
def test_not_nifti(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(NOT_NIFTI[name])
    reason, message = failure(path)
    assert reason == "not_nifti"
    assert (
        "is not a NIfTI volume, or ends inside its header" in message and "a .nii or .nii.gz file is needed" in message
    )


def test_other_format(tmp_path):
    path = tmp_path / "ct.mgz"
    nib.MGHImage(ct_voxels().astype(np.int32), AFFINE).to_filename(path)
    reason, message = failure(path)
    assert reason == "not_nifti"
    assert "is MGHImage, not NIfTI; convert it" in message


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated_gzip(tmp_path, keep):
    path = write(tmp_path / "ct.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20), dtype=np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    reason, message = failure(path)
    assert reason == "truncated_file"
    assert "copy or download it again" in message


def test_damaged_gzip(tmp_path):
    path = write(tmp_path / "ct.nii.gz", np.random.default_rng(0).integers(-9, 9, (40, 40, 40), dtype=np.int16))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    reason, message = failure(path)
    assert reason == "truncated_file"
    assert "ends early or is damaged" in message


@pytest.mark.parametrize("tail", [b"x", b"<html>" * 100], ids=["a byte", "a page"])
def test_what_follows_a_whole_gzip_is_left_with_a_warning(tmp_path, tail):
    voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20), dtype=np.int16)
    path = write(tmp_path / "ct.nii.gz", voxels)
    path.write_bytes(path.read_bytes() + tail)
    with pytest.warns(UserWarning, match=r"ct\.nii\.gz has something else behind the end of its gzip, which was not"):
        np.testing.assert_array_equal(read_volume(path)[0], voxels)


def test_a_wrong_checksum_before_a_tail_is_damage(tmp_path):
    path = write(tmp_path / "ct.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20), dtype=np.int16))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the checksum is the first of two words at the end
    path.write_bytes(bytes(content) + b"tail")
    assert failure(path)[0] == "truncated_file"


def test_truncated_without_compression(tmp_path):
    path = write(tmp_path / "ct.nii", ct_voxels())
    path.write_bytes(path.read_bytes()[:-20])
    assert failure(path)[0] == "truncated_file"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_label", [False, True])
def test_non_finite_voxels(tmp_path, value, is_label):
    voxels = ct_voxels(dtype=np.float32)
    voxels[1, 2, 3] = voxels[0, 0, 0] = value
    reason, message = failure(write(tmp_path / "ct.nii", voxels), is_label=is_label)
    assert reason == "non_finite_voxels"
    remedy = "by 0 (background) or the label that is meant" if is_label else "for example by -1024 HU (air)"
    assert f"has 2 NaN or infinite voxels of 120; replace them, {remedy}" in message


def test_labels_that_are_almost_whole_are_rounded(tmp_path):
    labels = np.arange(120).reshape(6, 5, 4) % 4
    for name, stored in {"short": labels * 0.9999, "long": labels * 1.0000001, "ground": labels + 1e-7}.items():
        read = read_volume(write(tmp_path / f"{name}.nii", stored.astype(np.float32)), is_label=True)[0]
        np.testing.assert_array_equal(read, labels)
        assert read.dtype == np.float32
    image = write(tmp_path / "ct.nii", ct_voxels())
    loaded = LoadVolumed(("image", "label"))({"image": image, "label": tmp_path / "short.nii"})
    np.testing.assert_array_equal(loaded["label"][0].numpy(), labels)


def test_a_soft_mask_is_no_label_map(tmp_path):
    soft = np.zeros((6, 5, 4), np.float32)
    soft[2, 2, 2], soft[2, 2, 1] = 1, 0.37
    reason, message = failure(write(tmp_path / "label.nii", soft), is_label=True)
    assert reason == "not_labels"
    assert "has 1 voxels that are not whole numbers, for example 0.37" in message
    assert "threshold a soft mask first" in message


def test_constant_volume(tmp_path):
    path = write(tmp_path / "ct.nii", np.full((6, 5, 4), -7, dtype=np.int16))
    reason, message = failure(path)
    assert reason == "constant_volume"
    assert "all voxels of" in message and "are -7; a CT in HU is needed" in message
    assert read_volume(path, is_label=True)[0].shape == (6, 5, 4)  # an empty label map is legal


def test_unsigned_voxels_that_cannot_be_hu_warn(tmp_path):
    path = write(tmp_path / "ct.nii", np.arange(120, dtype=np.uint8).reshape(6, 5, 4))
    with pytest.warns(UserWarning, match=r"uint8 voxels from 0 to 119 that do not look like HU: .*rescale intercept"):
        read_volume(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(path, is_label=True)  # a label map is not in HU


def test_the_stem_is_the_name_without_extensions():
    names = {"a/ct.nii.gz": "ct", "ct.nii": "ct", "CT.NII.GZ": "CT", "a.b.nii": "a.b", "ct.gz": "ct.gz", "d/": "d"}
    assert {path: nifti_stem(path) for path in names} == names


def test_missing_keys(tmp_path):
    image = write(tmp_path / "ct.nii", ct_voxels())
    assert set(LoadVolumed(("image", "label"), allow_missing_keys=True)({"image": image})) == {"image"}
    with pytest.raises(KeyError, match="label"):
        LoadVolumed(("image", "label"))({"image": image})


def test_error_inside_compose_is_the_cause(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        Compose(LoadVolumed("image"))({"image": str(tmp_path / "absent.nii")})
    assert caught.value.__cause__.reason == "missing_file"


@pytest.mark.real_ct
def test_real_ct(real_ct_path):
    voxels, affine = read_volume(real_ct_path)
    assert voxels.shape == nib.load(real_ct_path).shape
    assert voxels.min() <= -1000 and nib.aff2axcodes(affine) == ("R", "A", "S")

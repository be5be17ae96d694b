"""Reading volumes: what is legal, and for each bad volume its reason and its message."""

import gzip
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.geometry import SliceGeometry, restore_mask, source_slice
from medvol_r1.volume.io import LoadVolumed, nifti_stem, read_slices, read_volume
from medvol_r1.volume.transforms import LoadSlicesd, ResizeSlicesd, WindowIntensityd
from monai.data import MetaTensor
from monai.transforms import Compose
from nifti_files import AFFINE, ct_voxels, failure, write
from PIL import ExifTags, Image


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


def test_all_soft_voxels_are_counted(tmp_path):
    soft = np.zeros((6, 5, 4), np.float32)
    soft[1, :, 0], soft[5, 4, 3] = 0.5, 1.25
    _, message = failure(write(tmp_path / "label.nii", soft), is_label=True)
    assert "has 6 voxels that are not whole numbers, for example 0.5" in message


def test_a_label_map_is_held_once(tmp_path):
    path = write(tmp_path / "label.nii", np.ones((128, 128, 50), np.uint8))
    tracemalloc.start()
    read_volume(path, is_label=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 128 * 128 * 50 + 2**21  # float32, and what is read at a time


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


# Other modalities and single images ---------------------------------------------------------------------------------

GREY = np.array([[0, 100, 255], [50, 150, 200]], dtype=np.uint8)


def save_picture(path, pixels, orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_a_volume_of_another_modality_is_not_asked_for_hu(tmp_path):
    path = write(tmp_path / "mr.nii", np.arange(120, dtype=np.int16).reshape(6, 5, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        voxels, affine = read_volume(path, intensity="percentiles")
    np.testing.assert_array_equal(voxels, np.arange(120).reshape(6, 5, 4))
    np.testing.assert_array_equal(affine, AFFINE)


@pytest.mark.parametrize("intensity", ["percentiles", "full_range"])
def test_a_ct_that_is_said_to_be_another_modality_warns(tmp_path, intensity):
    hu = np.random.default_rng(0).integers(-1000, 1500, (6, 5, 4)).astype(np.int16)
    path = write(tmp_path / "ct.nii", hu)
    with pytest.warns(UserWarning, match=rf"values of a CT in HU, and `intensity` is '{intensity}'.* to ct"):
        read_volume(path, intensity=intensity)
    LoadVolumed("image")({"image": path})  # in silence


def test_a_picture_is_a_volume_of_one_slice_on_its_stored_grid(tmp_path):
    path = save_picture(tmp_path / "a.png", GREY, orientation=6)
    image = LoadVolumed("image", intensity="full_range")({"image": path})["image"]
    assert image.shape == (1, 3, 2, 1) and image[0, :, :, 0].T.tolist() == GREY.tolist()
    # Its columns run down, its rows to the left of who looks: posterior, and to the patient's right.
    assert nib.aff2axcodes(image.affine.numpy()) == ("P", "R", "S")
    assert image.meta["has_spacing"] is False


def test_a_coloured_picture_has_three_channels_red_first(tmp_path):
    path = save_picture(tmp_path / "a.png", np.stack([GREY, GREY // 2, GREY * 0], axis=-1))
    for load in (LoadVolumed("image", intensity="full_range"), LoadSlicesd("image", 8, intensity="full_range")):
        image = load({"image": path})["image"]
        assert image.shape[0] == 3 and image.amax(dim=(1, 2, 3)).tolist() == [255, 127, 0]


def test_a_picture_has_no_hu(tmp_path):
    reason, message = failure(save_picture(tmp_path / "a.png", GREY))
    assert reason == "not_hu" and "set `intensity` to full_range" in message


@pytest.mark.parametrize(("size", "intensity"), [((1, 1), "full_range"), ((7, 5), "percentiles")])
def test_a_picture_of_one_value_is_refused(tmp_path, size, intensity):
    path = save_picture(tmp_path / "a.png", np.full(size, 9, np.uint8))
    reason, message = failure(path, intensity=intensity)
    assert reason == "constant_volume" and "are 9; an image that shows something is needed" in message


def test_what_is_wrong_with_a_picture_is_a_reason_of_its_volume(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    reason, message = failure(tmp_path / "a.png", intensity="full_range")
    assert reason == "not_an_image" and "no image" in message


def test_floats_that_are_not_numbers_are_refused(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    assert failure(tmp_path / "a.tif", intensity="full_range")[0] == "non_finite_voxels"


def test_a_mask_lies_on_its_picture_or_is_refused(tmp_path):
    keys = ("image", "label")
    load = LoadVolumed(keys, intensity="full_range")
    image = save_picture(tmp_path / "a.jpg", np.kron(GREY, np.ones((8, 8), np.uint8)), orientation=6)
    label = np.zeros((16, 24), np.uint8)
    label[:3, :5] = 255
    found = load({"image": image, "label": save_picture(tmp_path / "m.png", label, orientation=6)})["label"]
    assert found.shape == (1, 24, 16, 1) and found[0, :, :, 0].T.tolist() == label.tolist()
    for pixels, orientation, words in (
        (label[:, :-1], 6, r"have shapes \(23, 16, 1\) and \(24, 16, 1\)"),
        (label, 1, "have different affines|axes run in other directions"),
    ):
        with pytest.raises(VolumeError, match=words) as caught:
            load({"image": image, "label": save_picture(tmp_path / "m.png", pixels, orientation)})
        assert caught.value.reason == "label_mismatch"


def test_a_dicom_file_of_another_class_is_an_image(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra `dicom`")
    from dicom_images import write_dicom

    path = write_dicom(tmp_path / "a.dcm", GREY, PixelSpacing=[0.5, 0.25])
    image = LoadVolumed("image", intensity="percentiles")({"image": path})["image"]
    assert image.shape == (1, 3, 2, 1) and image[0, :, :, 0].T.tolist() == GREY.tolist()
    np.testing.assert_allclose(image.affine, np.diag([-0.25, -0.5, 1, 1]))
    assert image.meta["has_spacing"] is True
    write_dicom(path, GREY)
    assert LoadSlicesd("image", 1, intensity="percentiles")({"image": path})["image"].meta["has_spacing"] is False
    reason, message = failure(path)
    assert reason == "no_ct_series" and "set `intensity` to percentiles" in message


@pytest.mark.parametrize("affine", [AFFINE, AFFINE @ np.diag([1, 1, -1, 1.0])], ids=["upwards", "downwards"])
def test_one_slice_of_a_volume_by_its_place_in_the_file(tmp_path, affine):
    voxels = ct_voxels((6, 5, 4))
    path = write(tmp_path / "ct.nii", voxels, affine)
    for index in range(4):
        shown, geometry = read_slices(path, 9, source_slice_index=index)
        np.testing.assert_array_equal(shown[..., 0], voxels[..., index])
        assert source_slice(geometry, 0) == index
        # The mask of that slice comes back to it, and to no other.
        restored = restore_mask(np.ones((1, 5, 6), np.uint8), geometry)
        assert restored[..., index].all() and restored.sum() == 30
    with pytest.raises(ValueError, match=r"slice_index is 4; 0 to 3 are legal \(config key `slice_index`\)"):
        read_slices(path, 9, source_slice_index=4)


def test_a_volume_of_one_slice_and_its_picture_are_shown_alike(tmp_path):
    """So the same anchor gives the same mask: what the models see is equal, and so is the way back."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    volume = write(tmp_path / "a.nii", pixels.T[..., None], np.diag([-1.0, -1, 1, 1]))
    picture = save_picture(tmp_path / "a.png", pixels)
    keys, mask = "image", (np.indices((1, 24, 24))[2] > 9).astype(np.uint8)
    shown, restored = [], []
    for path in (volume, picture):
        data = {"image": path}
        for step in (LoadSlicesd(keys, 4, intensity="full_range"), WindowIntensityd(keys, "full_range")):
            data = step(data)
        shown.append(ResizeSlicesd(keys, 24)(data)["image"])
        restored.append(restore_mask(mask, SliceGeometry.from_meta(shown[-1].meta)))
    assert torch.equal(*(image.as_tensor() for image in shown))
    assert restored[0].shape == (30, 40, 1) and np.array_equal(*restored)

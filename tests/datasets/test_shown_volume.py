import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.datasets.shown_volume import shown_volume
from medvol_r1.volume.transforms import LoadVolumed, OrientByAffined, ResizeSlicesd, SampleSlicesd, WindowHUd
from PIL import Image

SETTINGS = {"num_slices": 5, "slice_size": 24, "window": [-160, 240], "crop_to_body": False}


def save(path, voxels):
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0])), path)
    return str(path)


@pytest.fixture
def image(tmp_path):
    noise = np.random.default_rng(0).normal(0, 150, (20, 22, 12)).astype(np.float32)
    return save(tmp_path / "ct.nii.gz", noise)


def label(tmp_path, name, values):
    voxels = np.zeros((20, 22, 12), np.int32)
    voxels[:, :, : len(values)] = values
    return save(tmp_path / name, voxels)


def test_grey_values_are_rounded_to_the_nearest_of_255(tmp_path, image):
    """Half a step is 1 / 510; the mean of what rounding leaves is half of that."""
    data = {"image": image}
    for transform in (
        LoadVolumed("image"),
        OrientByAffined("image"),
        SampleSlicesd("image", 5),
        WindowHUd("image"),
        ResizeSlicesd("image", 24),
    ):
        data = transform(data)
    exact = data["image"][0].as_tensor()
    shown = shown_volume(image, [label(tmp_path, "a.nii.gz", [1])], **SETTINGS)["image"]
    assert shown.dtype == torch.uint8 and shown.shape == exact.shape == (5, 24, 24)
    off = (shown / 255 - exact).abs()
    assert off.max() <= 1 / 510 + 1e-7
    assert off[(exact > 0) & (exact < 1)].mean() == pytest.approx(1 / 1020, rel=0.1)  # 2,000 pixels, at random


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 3, 255], torch.uint8), ([256, 1], torch.int32), ([-1, 4], torch.int32), ([70000], torch.int32)],
)
def test_labels_keep_their_values(tmp_path, image, values, dtype):
    paths = [label(tmp_path, "a.nii.gz", values), label(tmp_path, "b.nii.gz", [1] * 12)]
    shown = shown_volume(image, paths, **SETTINGS | {"num_slices": 12})["labels"]
    assert shown.dtype == dtype and shown.shape == (2, 12, 24, 24)
    assert shown[0, :, 0, 0].tolist() == values + [0] * (12 - len(values))
    assert (shown[1] == 1).all()


def test_a_coloured_picture_keeps_its_channels_and_is_not_cropped(tmp_path):
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:12, :, 0], pixels[12:, :, 2] = 200, 90
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "mask.png")
    settings = SETTINGS | {"crop_to_body": True, "intensity": "full_range"}
    shown = shown_volume(str(tmp_path / "a.png"), [str(tmp_path / "mask.png")], **settings)
    assert torch.equal(shown["image"][0], torch.from_numpy(pixels).permute(2, 0, 1))  # [S, 3, H, W], red first
    assert torch.equal(shown["labels"][0, 0], torch.from_numpy(pixels[..., 0]))


def test_mr_is_shown_by_its_percentiles(tmp_path):
    path = save(tmp_path / "mr.nii.gz", np.random.default_rng(0).normal(500, 80, (20, 22, 12)).astype(np.float32))
    labels = [label(tmp_path, "a.nii.gz", [1])]
    settings = SETTINGS | {"intensity": "percentiles", "num_slices": 12}
    shown = shown_volume(path, labels, **settings)["image"].float()
    # A normal distribution cut at its percentiles 0.5 and 99.5, 2.576 spreads to each side: its spread is 0.194 of that
    # range, less where pixels are made of several.
    assert 120 < shown.mean() < 135 and 30 < shown.std() < 0.194 * 255

"""The crop to the body: what it finds, what it leaves alone, and its way back."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.body_crop import CropToBodyd, body_crop
from medvol_r1.volume.geometry import SliceGeometry, restore_mask, shown_mask
from medvol_r1.volume.transforms import OrientByAffined, ResizeSlicesd, RestoreMaskd, SampleSlicesd
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose

ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(["RL", "AP", "SI"]) for codes in itertools.product(*axes)
]


def affine_of(codes: str, spacing: tuple[float, float, float], tilt_degrees: float = 0.0) -> np.ndarray:
    """RAS+ affine whose voxel axes run towards `codes`, turned about the z axis."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, code in enumerate(codes):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[row, column] = spacing[column] * (1 if code in "RAS" else -1)
    cos, sin = np.cos(np.deg2rad(tilt_degrees)), np.sin(np.deg2rad(tilt_degrees))
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ affine[:3, :3]
    return affine


def slab(rows: slice, columns: slice, shape=(3, 100, 120)) -> np.ndarray:
    """[S,H,W] of air with a block of water."""
    image = np.full(shape, -1000.0, dtype=np.float32)
    image[:, rows, columns] = 0
    return image


# --- what is found --------------------------------------------------------------------------------------------------


def test_golden():
    # 4 mm pixels: the body is 40 columns (160 mm) by 20 rows (80 mm), centred at column 50 and row 40. With 8 mm on
    # either side the square is 176 mm = 44 pixels: columns 28..72, rows 18..62.
    assert body_crop(slab(slice(30, 50), slice(30, 70)), 4.0, 4.0) == (28, 18, 72, 62)


def test_square_in_millimetres():
    # Rows of 2 mm: the same rows are 40 mm now, and 176 mm are 88 rows around row 40, which reach beyond the slice.
    assert body_crop(slab(slice(30, 50), slice(30, 70)), 2.0, 4.0) == (28, -4, 72, 84)


def test_table_and_second_part_do_not_count():
    image = slab(slice(30, 50), slice(30, 70))
    image[:, 52:54, 5:115] = 200  # a sheet of 8 mm, one row of air away
    image[:, 10:20, 90:110] = 0  # an arm, apart
    assert body_crop(image, 4.0, 4.0) == (28, 18, 72, 62)
    image[:, 50:52, 5:115] = 200  # the patient lies on a sheet of 16 mm: that is part of the body
    assert body_crop(image, 4.0, 4.0) != (28, 18, 72, 62)


def test_one_crop_for_all_slices():
    image = slab(slice(30, 50), slice(30, 50))
    image[1] = slab(slice(30, 50), slice(40, 70))[0]
    assert body_crop(image, 4.0, 4.0) == (28, 18, 72, 62)


@pytest.mark.parametrize(
    "image",
    [
        np.full((3, 50, 50), -1000.0),
        slab(slice(30, 40), slice(30, 40)),  # 40 mm of water
        np.full((1, 1, 1), 40.0),
        slab(slice(30, 31), slice(0, 120)),  # nothing but a table
    ],
)
def test_no_body(image):
    assert body_crop(image, 4.0, 4.0) is None


def test_sideways_golden_by_the_affine_of_fine_pixels():
    """Pixels of 1 mm are looked at in blocks of 4; the frame is as exact as a block."""
    image = slab(slice(100, 300), slice(60, 360), (2, 400, 440))
    x1, y1, x2, y2 = body_crop(image, 1.0, 1.0)
    assert (x2 - x1, y2 - y1) == (316, 316)
    assert abs((x1 + x2) / 2 - 210) <= 2 and abs((y1 + y2) / 2 - 200) <= 2


# --- the transform and its way back ---------------------------------------------------------------------------------


def shown(voxels: np.ndarray, affine: np.ndarray, label: np.ndarray, size: int | None = None) -> dict:
    """`image` and `label` [1,S,H,W]"""
    keys = ["image", "label"]
    chain = [OrientByAffined(keys), SampleSlicesd(keys, 1000), CropToBodyd(keys, fill=[-1024.0, 0.0])]
    chain += [] if size is None else [ResizeSlicesd(keys, size, ["bilinear", "nearest"])]
    data = {"image": voxels.astype(np.float32), "label": label.astype(np.uint8)}
    return Compose(chain)({key: MetaTensor(torch.from_numpy(v)[None], affine=affine) for key, v in data.items()})


def body(shape: tuple[int, int, int], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[X,Y,Z] of air with a box of water between two corners."""
    voxels = np.full(shape, -1000.0)
    voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 0
    return voxels


@given(
    codes=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.floats(2.5, 6.0)] * 3),
    tilt=st.floats(-8, 8),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_the_way_back_is_exact(codes, spacing, tilt, seed):
    """Noise inside the body comes back voxel for voxel, and nothing is marked outside the frame."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(30, 60, 3).tolist())
    low, high = (np.array(shape) * 0.1).astype(int), (np.array(shape) * 0.9).astype(int)
    voxels = body(shape, low, high)
    label = (voxels > -500) & (rng.random(shape) < 0.4)
    data = shown(voxels, affine_of(codes, spacing, tilt), label)
    geometry = SliceGeometry.from_meta(data["image"].meta)
    assert geometry.crop_xyxy_px is not None
    np.testing.assert_array_equal(restore_mask(data["label"][0], geometry), label)
    np.testing.assert_array_equal(shown_mask(label, geometry, *data["label"].shape[2:]), data["label"][0] != 0)
    x1, y1, x2, y2 = geometry.crop_xyxy_px
    all_marked = restore_mask(torch.ones(data["label"].shape[1:]), geometry)
    columns, rows, slices = geometry.lps_shape
    seen = (min(x2, columns) - max(x1, 0)) * (min(y2, rows) - max(y1, 0)) * slices
    assert all_marked.sum() == seen and all_marked[label].all()


def test_the_way_back_after_resizing():
    phantom = make_phantom(5, "wide", shape=(160, 160, 12))
    label = phantom.label == 9
    data = shown(phantom.image, phantom.affine, label, size=512)
    back = restore_mask(data["label"][0], SliceGeometry.from_meta(data["image"].meta)) > 0
    assert 2 * (back & label).sum() / (back.sum() + label.sum()) > 0.99


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SLP"])
def test_the_affine_of_the_crop_holds(codes):
    """A voxel of the crop lies in the patient where the affine says."""
    affine = affine_of(codes, (3.0, 4.0, 5.0), 5)
    shape = (50, 44, 40)
    voxels = body(shape, (8, 8, 8), (40, 36, 33))
    label = np.zeros(shape)
    label[11, 20, 30] = 1
    data = shown(voxels, affine, label)
    index = np.argwhere(data["label"][0].numpy())[0]
    np.testing.assert_allclose(data["label"].affine.numpy() @ [*index, 1], affine @ [11, 20, 30, 1], atol=1e-9)


def test_beyond_the_slice_is_air():
    voxels = body((60, 30, 6), (2, 2, 0), (58, 28, 6))
    data = shown(voxels, affine_of("LPS", (4.0, 4.0, 4.0)), voxels > -500)
    assert data["image"].shape[2:] == (60, 60)  # 224 mm and twice 8 mm
    assert (data["image"][0, :, 0] == -1024).all() and (data["label"][0, :, 0] == 0).all()


def test_the_crop_survives_collating_and_decollating():
    """As MONAI Label does between preprocessing and the way back."""
    voxels = body((40, 44, 6), (6, 6, 0), (33, 36, 6))
    label = (voxels > -500) & (np.random.default_rng(0).random(voxels.shape) < 0.5)
    data = shown(voxels, affine_of("RIA", (4.0, 5.0, 4.0), 3), label)
    batch = list_data_collate([{"image": data["image"], "pred": data["label"].as_tensor()}])
    assert SliceGeometry.from_meta(batch["image"].meta).crop_xyxy_px is not None
    (item,) = decollate_batch(batch)
    np.testing.assert_array_equal(RestoreMaskd()(item)["pred"][0], label)


def test_nothing_found_shows_the_whole_slice():
    voxels = np.full((20, 24, 5), -1000.0)
    label = np.random.default_rng(0).random(voxels.shape) < 0.5
    data = shown(voxels, affine_of("PIL", (4.0, 4.0, 4.0)), label)
    geometry = SliceGeometry.from_meta(data["image"].meta)
    assert geometry.crop_xyxy_px is None
    np.testing.assert_array_equal(restore_mask(data["label"][0], geometry), label)


@pytest.mark.parametrize("subset", ["organs", "whole_body", "renal"])
def test_a_body_that_fills_the_slice_stays_as_large(subset):
    for seed in range(3):
        phantom = make_phantom(seed, subset, shape=(96, 96, 8), canonical=True)
        spacing = np.linalg.norm(phantom.affine[:3, :3], axis=0)
        crop = body_crop(phantom.image.transpose(2, 1, 0), spacing[1], spacing[0])
        x1, y1, x2, y2 = crop or (0, 0, 96, 96)
        assert 70 <= x2 - x1 <= 112 and y2 - y1 == x2 - x1, crop


def test_slices_of_another_grid():
    image, label = (torch.zeros(1, 2, side, side) for side in (40, 41))
    with pytest.raises(ValueError, match=r"'label' has the slices \(2, 41, 41\), not the image's \(2, 40, 40\)"):
        CropToBodyd(["image", "label"])(
            {"image": MetaTensor(image, affine=np.diag((4.0, 4, 4, 1))), "label": MetaTensor(label)}
        )


@pytest.mark.parametrize("value", [[3, 0, 3, 5], [0, 5, 2, 4]])
def test_a_crop_without_area(value):
    meta = {
        "source_shape": np.array((4, 4, 4)),
        "source_affine": np.eye(4),
        "orientation": np.array([[0, 1], [1, 1], [2, 1]]),
        "source_index": np.arange(4),
        "crop_xyxy_px": np.array(value),
    }
    with pytest.raises(ValueError, match="must have x1 < x2 and y1 < y2"):
        SliceGeometry.from_meta(meta)

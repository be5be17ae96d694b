"""Volume -> shown slices -> volume: orientation, HU windows, sampling, resizing, the query, and the way back."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.geometry import restore_map
from medvol_r1.volume.transforms import (
    LoadSlicesd,
    LoadVolumed,
    OrientByAffined,
    QueryToMetad,
    ResizeSlicesd,
    RestoreMaskd,
    SampleSlicesd,
    SliceGeometry,
    VolumeError,
    WindowHUd,
    restore_mask,
    source_slice,
)
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose

# All 48 ways to lay voxel axes along the body: a permutation of (x, y, z) and a sign for each.
ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(["RL", "AP", "SI"]) for codes in itertools.product(*axes)
]


def affine_of(
    codes: str, spacing=(0.7, 1.1, 3.0), origin=(-31.0, 17.0, 250.0), tilt_degrees: float = 0.0
) -> np.ndarray:
    """RAS+ affine whose voxel axes run towards `codes`, turned about the x and z axes by `tilt_degrees`."""
    affine = np.eye(4)
    for column, code in enumerate(codes):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[:3, column] = 0
        affine[row, column] = spacing[column] * (1 if code in "RAS" else -1)
    turn = np.deg2rad(tilt_degrees)
    about_x = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine[:3, :3] = np.array(about_x) @ np.array(about_z) @ affine[:3, :3]
    affine[:3, 3] = origin
    return affine


def positions(shape, affine) -> np.ndarray:
    """float64 [3,X,Y,Z]: the RAS+ mm of each voxel."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]


def as_image(voxels, affine) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.array(voxels))[None], affine=affine)


def shown(voxels, affine, num_slices=1000) -> MetaTensor:
    """[1,S,H,W]"""
    chain = Compose([OrientByAffined("image"), SampleSlicesd("image", num_slices=num_slices)])
    return chain({"image": as_image(voxels, affine)})["image"]


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


# --- orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_orientation_equals_nibabels(codes):
    voxels = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    affine = affine_of(codes)
    source = nib.Nifti1Image(voxels, affine)
    to_lps = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt("LPS"))
    oracle = source.as_reoriented(to_lps)

    image = OrientByAffined("image")({"image": as_image(voxels, affine)})["image"]

    np.testing.assert_array_equal(image.numpy()[0], oracle.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(image.affine.numpy(), oracle.affine, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(image.meta["source_shape"], voxels.shape)
    np.testing.assert_array_equal(image.meta["source_affine"], affine)
    np.testing.assert_array_equal(image.meta["orientation"], to_lps)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("tilt_degrees", [0, 15])
def test_slices_show_as_a_radiologist_sees_them(codes, tilt_degrees):
    affine = affine_of(codes, tilt_degrees=tilt_degrees)
    x, y, z = (shown(p.astype(np.float32), affine)[0].numpy() for p in positions((5, 6, 7), affine))  # each [S,H,W]
    assert (np.diff(x, axis=2) < 0).all(), "columns run to the left: x, positive to the right, falls"
    assert (np.diff(y, axis=1) < 0).all(), "rows run to posterior: y, positive to anterior, falls"
    assert (np.diff(z, axis=0) > 0).all(), "slices run to superior"


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAR", "IPL", "ASL"])
def test_affine_of_the_shown_slices_holds(codes):
    affine = affine_of(codes, tilt_degrees=10)
    where = positions((9, 9, 9), affine).astype(np.float32)
    images = [shown(p, affine, num_slices=5) for p in where]  # 5 of 9: every second slice, so the mean step is exact
    at = np.stack([image[0].numpy() for image in images])
    np.testing.assert_allclose(positions((5, 9, 9), images[0].affine.numpy()), at, atol=1e-4)  # float32 mm near 250


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_source_slice_names_the_source_voxels(codes):
    shape = (5, 6, 7)
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    image = shown(voxels, affine_of(codes), num_slices=4)
    geometry = SliceGeometry.from_meta(image.meta)
    assert codes[geometry.source_axial_axis] in "SI"
    for key_index in range(4):
        plane = np.take(voxels, source_slice(geometry, key_index), axis=geometry.source_axial_axis)
        assert set(plane.ravel()) == set(image[0, key_index].numpy().ravel())


def test_source_slice_golden():
    # 5 slices, of which 0, 2 and 4 from the bottom are shown.
    upright = SliceGeometry.from_meta(shown(np.zeros((2, 2, 5)), affine_of("LPS"), 3).meta)
    assert [source_slice(upright, k) for k in range(3)] == [0, 2, 4]
    # The file runs from the head down: the bottom slice is its last, 4.
    inverted = SliceGeometry.from_meta(shown(np.zeros((2, 2, 5)), affine_of("LPI"), 3).meta)
    assert [source_slice(inverted, k) for k in range(3)] == [4, 2, 0]
    # The first axis is axial.
    first = SliceGeometry.from_meta(shown(np.zeros((5, 2, 2)), affine_of("IPL"), 3).meta)
    assert first.source_axial_axis == 0 and [source_slice(first, k) for k in range(3)] == [4, 2, 0]


@pytest.mark.parametrize("key_index", [-1, 3])
def test_source_slice_outside(key_index):
    geometry = SliceGeometry.from_meta(shown(np.zeros((2, 2, 5)), affine_of("LPS"), 3).meta)
    with pytest.raises(ValueError, match=rf"key_index {key_index} must lie in 0\.\.2"):
        source_slice(geometry, key_index)


@pytest.mark.parametrize("value", [torch.zeros(1, 4, 4, 4), "ct.nii.gz"])
def test_orienting_needs_an_affine(value):
    with pytest.raises(
        ValueError, match="'image' is .*; a MetaTensor of four axes is expected, as LoadVolumed returns"
    ):
        OrientByAffined("image")({"image": value})


# --- sampling --------------------------------------------------------------------------------------------------------


def test_sampling_bad():
    with pytest.raises(ValueError, match="num_slices is 0; at least 1 is legal"):
        SampleSlicesd("image", num_slices=0)
    with pytest.raises(ValueError, match="'image' has not been oriented; put OrientByAffined before SampleSlicesd"):
        SampleSlicesd("image")({"image": as_image(np.zeros((4, 4, 4)), np.eye(4))})


def test_one_slice_and_a_thousand():
    for num_slices, expected in ((1, 1), (1000, 64)):
        image = shown(np.zeros((4, 6, num_slices), np.float32), affine_of("RAS"), num_slices=64)
        assert image.shape == (1, expected, 6, 4)
        mask = restore_mask(torch.ones(expected, 6, 4), SliceGeometry.from_meta(image.meta))
        assert mask.shape == (4, 6, num_slices) and mask.all()


# --- resizing --------------------------------------------------------------------------------------------------------


def test_nearest_golden():
    # 4 columns to 2: centres 0.5 and 1.5 of 2 lie at 1 and 3 of 4; to 8: each column twice.
    columns = MetaTensor(torch.tensor([10, 20, 30, 40], dtype=torch.uint8).expand(1, 1, 4, 4))
    small = ResizeSlicesd("label", size=2, mode="nearest")({"label": columns})["label"]
    large = ResizeSlicesd("label", size=8, mode="nearest")({"label": columns})["label"]
    assert small[0, 0, 0].tolist() == [20, 40] and small.dtype == torch.uint8
    assert large[0, 0, 0].tolist() == [10, 10, 20, 20, 30, 30, 40, 40]


def test_bilinear_is_antialiased():
    stripes = (torch.arange(256) % 2).float().expand(1, 2, 256, 256)
    image = ResizeSlicesd("image", size=32)({"image": MetaTensor(stripes)})["image"]
    assert image.shape == (1, 2, 32, 32)
    # Without antialiasing the stripes would alias to 0 or 1. The borders see the filter cut off.
    np.testing.assert_allclose(image[..., 1:-1].numpy(), 0.5, atol=0.01)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (100, 37), (256, 256)])
def test_resize_keeps_the_range(height, width):
    noise = MetaTensor(torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0)).round())
    image = ResizeSlicesd("image", size=64)({"image": noise})["image"]
    assert image.shape == (3, 2, 64, 64)
    assert image.min() >= 0 and image.max() <= 1


def test_resize_keeps_place():
    affine = affine_of("LPS", tilt_degrees=10)
    image = shown(np.zeros((30, 20, 4)), affine)
    after = ResizeSlicesd("image", size=40)({"image": image})["image"].affine.numpy()
    # The outer edge of the corner pixel, half a pixel before its centre, stays in place.
    before = image.affine.numpy()
    np.testing.assert_allclose(after @ [1, -0.5, -0.5, 1], before @ [1, -0.5, -0.5, 1], atol=1e-9)
    np.testing.assert_allclose(after @ [1, 39.5, 39.5, 1], before @ [1, 19.5, 29.5, 1], atol=1e-9)


def test_resize_per_key():
    data = {key: MetaTensor(torch.eye(4)[None, None]) for key in ("image", "label")}
    data = ResizeSlicesd(("image", "label"), size=7, mode=("bilinear", "nearest"))(data)
    assert set(data["label"].unique().tolist()) == {0, 1} and len(data["image"].unique()) > 2


def test_resize_bad():
    with pytest.raises(ValueError, match="size is 0; at least 1 pixel is legal"):
        ResizeSlicesd("image", size=0)
    with pytest.raises(ValueError, match="mode 'cubic' is unknown; 'bilinear' and 'nearest' are legal"):
        ResizeSlicesd("image", mode="cubic")
    with pytest.raises(ValueError, match="3"):
        ResizeSlicesd(("image", "label"), mode=("bilinear", "nearest", "nearest"))


# --- the way back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_label_to_slices_and_back(seed):
    """Random subset, orientation, obliqueness, spacing and size; all slices are shown."""
    rng = np.random.default_rng(seed)
    subset = ("organs", "whole_body", "renal")[seed % 3]
    shape = tuple(int(n) for n in rng.integers((60, 60, 20), (150, 150, 70)))
    phantom = make_phantom(seed, subset, shape=shape)
    values = np.unique(phantom.label)[1:]
    assert len(values) > 0
    preprocess = Compose(
        [
            OrientByAffined("label"),
            SampleSlicesd("label", num_slices=100),
            ResizeSlicesd("label", size=256, mode="nearest"),
        ]
    )
    data = preprocess({"label": as_image(phantom.label, phantom.affine)})
    for value in values:
        restored = RestoreMaskd("pred", ref_key="label")(data | {"pred": (data["label"] == value).float()})["pred"]
        assert restored.dtype == torch.uint8 and tuple(restored.shape[1:]) == phantom.label.shape
        np.testing.assert_array_equal(restored.affine.numpy(), phantom.affine)
        assert dice(restored[0].numpy() > 0, phantom.label == value) >= 0.99


@pytest.mark.parametrize("seed", range(100, 106))
def test_mask_to_slices_and_back_at_clinical_size(seed):
    """Phantoms at their own random size, some larger than the shown slices; the smallest structure of each."""
    phantom = make_phantom(seed, ("organs", "whole_body", "renal")[seed % 3])
    value = np.argmin([np.count_nonzero(phantom.label == v) or np.inf for v in range(1, 13)]) + 1
    mask = phantom.label == value
    preprocess = Compose(
        [OrientByAffined("mask"), SampleSlicesd("mask", num_slices=1000), ResizeSlicesd("mask", size=256)]
    )
    slices = preprocess({"mask": as_image(mask.astype(np.float32), phantom.affine)})["mask"]
    restored = restore_mask(slices[0], SliceGeometry.from_meta(slices.meta))
    assert dice(restored > 0, mask) >= 0.995


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_way_back_is_exact_in_each_orientation(codes):
    label = np.random.default_rng(0).random((11, 12, 13)) < 0.3  # noise: not one voxel may move
    image = shown(label, affine_of(codes, tilt_degrees=8))
    np.testing.assert_array_equal(restore_mask(image[0], SliceGeometry.from_meta(image.meta)), label)


@given(
    codes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    scale=st.floats(2, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_way_back_is_exact_when_slices_are_enlarged(codes, shape, scale, seed):
    label = np.random.default_rng(seed).random(shape) < 0.5
    image = shown(label.astype(np.uint8), affine_of(codes))
    size = int(np.ceil(scale * max(image.shape[2:])))  # at least twice as large: any single voxel survives
    image = ResizeSlicesd("image", size=size, mode="nearest")({"image": image})["image"]
    np.testing.assert_array_equal(restore_mask(image[0], SliceGeometry.from_meta(image.meta)), label)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_map_comes_back_in_each_orientation(codes):
    values = np.random.default_rng(0).random((11, 12, 13)).astype(np.float32)
    image = shown(values, affine_of(codes, tilt_degrees=8))
    np.testing.assert_allclose(restore_map(image[0], SliceGeometry.from_meta(image.meta)), values, rtol=1e-6)


def test_sampled_slices_keep_a_smooth_shape():
    x, y, z = positions((48, 48, 200), affine_of("LPS", (2, 2, 1), (0, 0, 0)))
    ball = (x + 47) ** 2 + (y + 47) ** 2 + (z - 100) ** 2 < 40**2
    image = shown(ball.astype(np.float32), affine_of("LPS", (2, 2, 1), (0, 0, 0)), num_slices=64)
    # Steps of 3 mm on a ball of 40 mm: the surface is off by at most about a slice.
    assert dice(restore_mask(image[0], SliceGeometry.from_meta(image.meta)) > 0, ball) > 0.98


def test_restored_mask_keeps_its_own_meta():
    image = shown(np.zeros((4, 5, 6), np.float32), affine_of("RAS"))
    image.meta["filename_or_obj"] = "ct.nii.gz"
    pred = MetaTensor(torch.ones(1, 6, 5, 4), meta={"evidence": "{}"})
    restored = RestoreMaskd()({"image": image, "pred": pred})["pred"]
    assert restored.meta["evidence"] == "{}" and restored.meta["filename_or_obj"] == "ct.nii.gz"
    np.testing.assert_array_equal(restored.meta["original_affine"], affine_of("RAS"))
    np.testing.assert_array_equal(restored.meta["spatial_shape"], (4, 5, 6))
    plain = RestoreMaskd()({"image": image, "pred": torch.ones(1, 6, 5, 4)})["pred"]
    np.testing.assert_array_equal(plain.affine.numpy(), affine_of("RAS"))


@pytest.mark.parametrize("shape", [(6, 5, 4), (2, 6, 5, 4), (1, 1, 6, 5, 4)])
def test_restoring_a_mask_of_the_wrong_shape(shape):
    image = shown(np.zeros((4, 5, 6), np.float32), affine_of("RAS"))
    with pytest.raises(ValueError, match=r"'pred' has shape .*; a mask \[1,S,H,W\] is expected"):
        RestoreMaskd()({"image": image, "pred": torch.ones(shape)})


# --- meta data through batches ---------------------------------------------------------------------------------------


def preprocessed() -> dict:
    chain = Compose(
        [
            OrientByAffined("image"),
            SampleSlicesd("image", num_slices=4),
            WindowHUd("image"),
            ResizeSlicesd("image", size=8),
            QueryToMetad("image"),
        ]
    )
    volume = np.random.default_rng(0).normal(0, 300, (5, 7, 9)).astype(np.float32)
    image = as_image(volume, affine_of("IRP", tilt_degrees=5))
    image.meta["filename_or_obj"] = "ct.nii.gz"
    return chain({"image": image, "query": "liver, spleen", "case": "a"})


def assert_same_geometry(a: SliceGeometry, b: SliceGeometry) -> None:
    assert a.source_shape == b.source_shape
    for name in ("source_affine", "orientation", "source_index"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_what_preprocessing_leaves():
    image = preprocessed()["image"]
    assert image.shape == (1, 4, 8, 8) and image.dtype == torch.float32
    assert {key: type(image.meta[key]) for key in ("source_shape", "source_affine", "orientation", "source_index")} == {
        "source_shape": np.ndarray,
        "source_affine": np.ndarray,
        "orientation": np.ndarray,
        "source_index": np.ndarray,
    }
    # IRP: axis 0 runs down the body, so of its 5 slices 4 are shown: 0, 1.33, 2.67, 4
    assert image.meta["source_index"].tolist() == [0, 1, 3, 4] and image.meta["source_index"].dtype == np.int64
    assert image.meta["query"] == "liver, spleen" and image.meta["filename_or_obj"] == "ct.nii.gz"


def test_meta_survives_collating_and_decollating():
    data = preprocessed()
    expected = SliceGeometry.from_meta(data["image"].meta)
    batch = list_data_collate([data])
    assert_same_geometry(SliceGeometry.from_meta(batch["image"].meta), expected)
    assert batch["image"].meta["query"] == ["liver, spleen"]
    item = decollate_batch(batch)[0]
    assert_same_geometry(SliceGeometry.from_meta(item["image"].meta), expected)
    assert item["image"].meta["query"] == "liver, spleen"
    item["pred"] = torch.ones(1, 4, 8, 8)
    restored = RestoreMaskd()(item)["pred"]
    assert restored.shape == (1, 5, 7, 9) and restored.all()
    np.testing.assert_array_equal(restored.affine.numpy(), affine_of("IRP", tilt_degrees=5))


def test_meta_survives_indexing():
    """MONAI Label batches by image[None] and takes the batch apart by [0]."""
    image = preprocessed()["image"]
    expected = SliceGeometry.from_meta(image.meta)
    for indexed in (image[None], image[None][0], list_data_collate([{"image": image}])["image"][0]):
        assert_same_geometry(SliceGeometry.from_meta(indexed.meta), expected)
        assert indexed.meta["query"] == "liver, spleen"


def test_input_is_left_alone():
    source = as_image(np.zeros((4, 4, 4), np.float32), affine_of("SAR"))
    before = set(source.meta)
    oriented = OrientByAffined("image")({"image": source})["image"]
    after_orienting = set(oriented.meta)
    SampleSlicesd("image")({"image": oriented})
    assert set(source.meta) == before and set(oriented.meta) == after_orienting


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_index": None}, "the image's meta data has no 'source_index'; run OrientByAffined and SampleSlicesd"),
        ({"source_affine": np.eye(3)}, r"meta\['source_affine'\] has shape \[3, 3\]; \[4, 4\] is expected"),
        (
            {"source_shape": torch.ones(2, 3)},
            r"\['source_shape'\] has shape \[2, 3\]; \[3\] is expected \(of one volume",
        ),
        ({"source_index": np.zeros((2, 2))}, r"\['source_index'\] has shape \[2, 2\]; \['S'\] is expected"),
        ({"source_index": np.array([0, 5])}, r"source_index \[0, 5\] must lie in 0\.\.4"),
        ({"source_index": np.array([-1, 3])}, r"source_index \[-1, 3\] must lie in 0\.\.4"),
        ({"source_index": np.array([], int)}, r"source_index \[\] must lie in 0\.\.4"),
        ({"source_index": np.array([3, 1])}, r"source_index \[3, 1\] must increase strictly"),
    ],
)
def test_geometry_from_bad_meta(change, message):
    meta = {**preprocessed()["image"].meta, **change}
    with pytest.raises(ValueError, match=message):
        SliceGeometry.from_meta({key: value for key, value in meta.items() if value is not None})


# --- reading the shown slices alone ----------------------------------------------------------------------------------


def write_stored(path, codes="LPS", dtype=np.int16, shape=(5, 6, 9), slope_inter=(None, None)):
    """A file of random values whose voxel axes run towards `codes`."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, shape).astype(dtype)
    image = nib.Nifti1Image(voxels, affine_of(codes, tilt_degrees=7))
    image.header.set_slope_inter(*slope_inter)
    image.to_filename(path)
    return path


def assert_same_image(found, expected):
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert found.dtype == expected.dtype == torch.float32
    np.testing.assert_array_equal(found.affine.numpy(), expected.affine.numpy())
    assert found.meta.keys() == expected.meta.keys()
    for key, value in expected.meta.items():
        np.testing.assert_array_equal(np.asarray(found.meta[key]), np.asarray(value), err_msg=key)


def whole_chain(keys, num_slices):
    return Compose([LoadVolumed(keys), OrientByAffined(keys), SampleSlicesd(keys, num_slices)])


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_slices_alone_are_those_of_the_whole_volume(tmp_path, codes, ending):
    path = write_stored(tmp_path / f"ct.{ending}", codes, slope_inter=(1.0, -24.0))
    for num_slices in (1, 4, 1000):
        found = LoadSlicesd("image", num_slices)({"image": path, "case": "a"})
        assert found["case"] == "a"
        assert_same_image(found["image"], whole_chain("image", num_slices)({"image": path})["image"])


@pytest.mark.filterwarnings("ignore:.*do not look like HU")
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, ">i2", np.float32, np.float64])
@pytest.mark.parametrize("slope_inter", [(None, None), (0.37, -1023.7)])
def test_slices_alone_have_nibabels_values(tmp_path, dtype, slope_inter):
    path = write_stored(tmp_path / "ct.nii", "RAS", dtype, slope_inter=slope_inter)
    whole = np.asarray(nib.load(path).dataobj, dtype=np.float32)
    shown = LoadSlicesd("image", 3)({"image": path})["image"][0].numpy()
    np.testing.assert_array_equal(shown, whole[::-1, ::-1, [0, 4, 8]].transpose(2, 1, 0))


def test_labels_are_sliced_with_their_image_or_stay_whole(tmp_path):
    image = write_stored(tmp_path / "ct.nii.gz", "PIR")
    label = write_stored(tmp_path / "label.nii.gz", "PIR", np.uint8)
    keys, paths = ("image", "label"), {"image": image, "label": label}
    sliced, expected = LoadSlicesd(keys, 3)(paths), whole_chain(keys, 3)(paths)
    assert_same_image(sliced["label"], expected["label"])
    kept = LoadSlicesd(keys, 3, whole_keys="label")(paths)
    assert_same_image(kept["image"], expected["image"])
    assert_same_image(kept["label"], LoadVolumed(keys)(paths)["label"])


@pytest.mark.parametrize("whole_keys", [(), "label"])
def test_a_label_beside_its_image_is_found(tmp_path, whole_keys):
    image = write_stored(tmp_path / "ct.nii")
    label = write_stored(tmp_path / "label.nii", dtype=np.uint8, shape=(5, 6, 8))
    load = LoadSlicesd(("image", "label"), 1, whole_keys=whole_keys)
    with pytest.raises(VolumeError, match=r"have shapes \(5, 6, 8\) and \(5, 6, 9\)"):
        load({"image": image, "label": label})


def test_values_are_judged_by_what_is_shown(tmp_path):
    voxels = np.random.default_rng(0).normal(0, 500, (5, 6, 9)).astype(np.float32)
    voxels[..., 1] = np.nan
    nib.Nifti1Image(voxels, affine_of("LPS")).to_filename(tmp_path / "ct.nii")
    paths = {"image": tmp_path / "ct.nii"}
    assert LoadSlicesd("image", 3)(paths)["image"].isfinite().all()  # 0, 4 and 8 are shown
    with pytest.raises(VolumeError, match="has 30 NaN or infinite voxels of 270"):
        LoadSlicesd("image", 9)(paths)
    voxels[..., 1] = 7
    voxels[..., 4] = 0
    nib.Nifti1Image(voxels, affine_of("LPS")).to_filename(tmp_path / "ct.nii")
    with pytest.raises(VolumeError, match=r"ct\.nii that were read are 0; a CT in HU is needed"):
        LoadSlicesd("image", 1)(paths)
    with pytest.raises(ValueError, match="num_slices is 0; at least 1 is legal"):
        LoadSlicesd("image", 0)


# --- files -----------------------------------------------------------------------------------------------------------


def test_restored_mask_saves_on_the_source_grid(tmp_path):
    phantom = make_phantom(7, "organs", shape=(60, 50, 24))
    for key, voxels in (("image", phantom.image), ("label", phantom.label)):
        nib.Nifti1Image(voxels, phantom.affine).to_filename(tmp_path / f"{key}.nii.gz")
    keys = ("image", "label")
    chain = Compose(
        [
            LoadVolumed(keys),
            OrientByAffined(keys),
            SampleSlicesd(keys),
            WindowHUd("image"),
            ResizeSlicesd(keys, size=128, mode=("bilinear", "nearest")),
        ]
    )
    data = chain({key: tmp_path / f"{key}.nii.gz" for key in keys})
    assert data["image"].shape == data["label"].shape == (1, 24, 128, 128)
    mask = RestoreMaskd()(data | {"pred": data["label"] == 1})["pred"]
    nib.Nifti1Image(mask[0].numpy(), mask.affine.numpy()).to_filename(tmp_path / "mask.nii.gz")

    source, saved = nib.load(tmp_path / "label.nii.gz"), nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(saved.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(source.dataobj) == 1)


@pytest.mark.real_ct
def test_real_ct_there_and_back(real_ct_path):
    source = nib.load(real_ct_path)
    chain = Compose(
        [
            LoadVolumed("image"),
            OrientByAffined("image"),
            SampleSlicesd("image", num_slices=1000),
            ResizeSlicesd("image", size=256, mode="nearest"),
        ]
    )
    image = chain({"image": str(real_ct_path)})["image"]
    bone = RestoreMaskd()({"image": image, "pred": image > 200})["pred"]
    np.testing.assert_array_equal(bone.affine.numpy(), source.affine)
    np.testing.assert_array_equal(bone[0].numpy(), source.get_fdata() > 200)
    # The patient lies on the back: the table side, the last rows, holds more bone (spine) than the front.
    shown_bone = (image[0] > 200).float().sum(dim=(0, 2))
    assert shown_bone[128:].sum() > shown_bone[:128].sum()

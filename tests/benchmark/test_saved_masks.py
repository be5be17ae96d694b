"""Other systems' masks: exact where the space is the same, refused where it is not known."""

import json

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.benchmark.saved_masks import SavedMasks
from medvol_r1.errors import ReasonedError
from stored_labels import AFFINE, SHAPE

ORIENTATIONS = [
    nib.orientations.axcodes2ornt((a, b, c))
    for a, b, c in [
        ("R", "A", "S"),
        ("L", "P", "S"),
        ("I", "P", "L"),
        ("A", "S", "R"),
        ("S", "L", "A"),
        ("P", "I", "R"),
    ]
]


@pytest.fixture
def case(tmp_path):
    return {"image": str(tmp_path / "ct_1.nii.gz"), "case": "a", "target": "spleen", "patient": "p"}


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    nib.save(image, path)


def system(folder, **changes):
    return SavedMasks(**({"folder": folder, "masks": "{case}.nii.gz", "labels": 3} | changes))


def place(system, case, affine=AFFINE):
    return system.place(system.parts(case), SHAPE, affine)


def reason_of(system, case, affine=AFFINE):
    with pytest.raises(ReasonedError) as caught:
        place(system, case, affine)
    return caught.value.reason, str(caught.value)


# By affine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_other_orientations_of_one_space_are_exact(label, orientation, tmp_path, case):
    image = nib.Nifti1Image(label, AFFINE)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(AFFINE), orientation))
    save(tmp_path / "a.nii.gz", np.asarray(turned.dataobj), turned.affine)
    placed = place(system(tmp_path), case)
    assert placed.exact and np.array_equal(placed.mask, label == 3)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1])], ids=("RAS", "LPS"))
def test_identity_affines_are_refused(label, affine, tmp_path, case):
    save(tmp_path / "a.nii.gz", label, affine)
    reason, message = reason_of(system(tmp_path), case)
    assert reason == "identity_affine" and "save it with the image's affine" in message


def test_an_identity_affine_is_legal_where_the_image_has_it(label, tmp_path, case):
    save(tmp_path / "a.nii.gz", label, np.eye(4))
    assert place(system(tmp_path), case, np.eye(4)).mask.sum() == (label == 3).sum()


@pytest.mark.parametrize(
    "change",
    [
        lambda affine: affine @ np.diag([1.25, 1, 1, 1]),  # another spacing
        lambda affine: affine + np.array([[0, 0, 0, 30], [0] * 4, [0] * 4, [0] * 4]),  # another origin
        lambda affine: np.diag([0.8, 0.9, 2.5, 1]),  # origin and direction lost
        lambda affine: np.diag([-1, -1, 1, 1]) @ affine,  # LPS taken for RAS
    ],
)
def test_the_images_shape_elsewhere_is_refused(label, change, tmp_path, case):
    save(tmp_path / "a.nii.gz", label, change(AFFINE))
    reason, _ = reason_of(system(tmp_path), case)
    assert reason == "other_space"


# Same shape, sidecar ------------------------------------------------------------------------------------------------


def test_an_npz_in_the_order_of_simpleitk(label, tmp_path, case):
    np.savez(tmp_path / "a.npz", segs=label.astype(np.uint8).transpose(2, 1, 0), other=1)
    settings = {"masks": "{case}.npz", "grid": "same_shape"}
    placed = place(system(tmp_path, axes="zyx", **settings), case)
    assert placed.exact and np.array_equal(placed.mask, label == 3)
    reason, message = reason_of(system(tmp_path, **settings), case)
    assert reason == "other_shape" and "(7, 9, 11)" in message and "(11, 9, 7)" in message
    assert reason_of(system(tmp_path, masks="{case}.npz"), case)[0] == "no_affine"
    reason, message = reason_of(system(tmp_path, array="pred", **settings), case)
    assert reason == "missing_array" and "segs, other" in message


def test_a_sidecar_says_where_an_array_lies(label, tmp_path, case):
    """An array [Z,Y,X] from slice 2 on, and the affine of its own index."""
    np.savez(tmp_path / "a.npz", segs=label[:, :, 2:].transpose(2, 1, 0).astype(np.uint8))
    to_image = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 2], [0, 0, 0, 1]])
    (tmp_path / "a.json").write_text(json.dumps({"affine": (AFFINE @ to_image).tolist()}))
    reads = system(tmp_path, masks="{case}.npz", grid="sidecar", sidecar="{case}.json")
    expected = (label == 3) & (np.arange(7) >= 2)
    assert np.array_equal(place(reads, case).mask, expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing_sidecar"),
        ("{", "bad_sidecar"),
        ("[1]", "bad_sidecar"),
        ('{"affine": [[1, 0], [0, 1]]}', "bad_sidecar"),
        (json.dumps({"affine": np.zeros((4, 4)).tolist()}), "bad_sidecar"),
    ],
)
def test_bad_sidecars(label, tmp_path, case, content, reason):
    save(tmp_path / "a.nii.gz", label, np.eye(4))
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert reason_of(system(tmp_path, grid="sidecar", sidecar="{case}.json"), case)[0] == reason


# Values -------------------------------------------------------------------------------------------------------------


def test_255_as_nan_is_background(label, tmp_path, case):
    label[0] = 255
    save(tmp_path / "a.nii.gz", label)
    everything = place(system(tmp_path, labels=None, void_values=(255,)), case).mask
    assert not everything[0].any() and np.array_equal(everything[1:], label[1:] > 0)
    # a file of nothing but void is an empty answer, not a wrong label
    save(tmp_path / "a.nii.gz", np.full(SHAPE, 255, np.float32))
    assert not place(system(tmp_path, void_values=(255,)), case).mask.any()


def test_targets_map_to_values(label, tmp_path, case):
    save(tmp_path / "a.nii.gz", label)
    reads = system(tmp_path, labels={"spleen": 2, "kidneys": [1, 3]})
    assert np.array_equal(place(reads, case).mask, label == 2)
    assert np.array_equal(place(reads, case | {"target": "kidneys"}).mask, (label == 1) | (label == 3))
    reason, message = reason_of(reads, case | {"target": "brain"})
    assert reason == "no_label_value" and "'brain'" in message and "spleen, kidneys" in message


def test_targets_map_to_files(label, tmp_path, case):
    for name, value in {"kidney left": 1, "kidney right": 2}.items():
        save(tmp_path / "seg_ct_1" / f"{name}.nii.gz", (label == value).astype(np.uint8))
    reads = system(
        tmp_path, masks="seg_{image}/{label}.nii.gz", labels={"kidneys": ["kidney left", "kidney right"], "spleen": "s"}
    )
    assert np.array_equal(place(reads, case | {"target": "kidneys"}).mask, (label == 1) | (label == 2))
    assert reason_of(reads, case)[0] == "missing_mask"


def test_values_that_mean_something_else_are_named(label, tmp_path, case):
    save(tmp_path / "a.nii.gz", 100 + label)
    reason, message = reason_of(system(tmp_path, labels={"spleen": 1, "liver": 2}), case)
    assert reason == "label_value_absent" and "100, 101, 102, 103" in message
    save(tmp_path / "a.nii.gz", np.where(label == 1, 0, label))  # the liver is there, the spleen was not found
    assert not place(system(tmp_path, labels={"spleen": 1, "liver": 2}), case).mask.any()


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        (np.full(SHAPE, np.nan, np.float32), "not_labels"),
        (np.full(SHAPE, 0.4, np.float32), "not_labels"),
        (np.ones((*SHAPE, 2), np.uint8), "several_channels"),
    ],
)
def test_bad_voxels(voxels, reason, tmp_path, case):
    save(tmp_path / "a.nii.gz", voxels)
    assert reason_of(system(tmp_path), case)[0] == reason


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full(SHAPE, np.nan), "not_labels"),
        (np.ones((4, 4)), "not_3d"),
        (np.array([None]), "not_labels"),
        (None, "not_an_archive"),
    ],
)
def test_bad_archives(array, reason, tmp_path, case):
    if array is None:
        (tmp_path / "a.npz").write_bytes(b"PK not an archive")
    else:
        np.savez(tmp_path / "a.npz", segs=array)
    assert reason_of(system(tmp_path, masks="{case}.npz", grid="same_shape"), case)[0] == reason


def test_missing_files_and_unknown_placeholders(tmp_path, case):
    assert reason_of(system(tmp_path), case) == ("missing_mask", f"there is no {tmp_path / 'a.nii.gz'}")
    reason, message = reason_of(system(tmp_path, masks="{study}.nii.gz"), case)
    assert reason == "missing_mask" and "{study}" in message and "case, target, patient, image" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": "guess"}, "legal are affine, same_shape, sidecar"),
        ({"grid": "sidecar"}, "belong together"),
        ({"sidecar": "a.json"}, "belong together"),
        ({"axes": "zyx"}, "same_shape alone"),
        ({"axes": "xyy", "grid": "same_shape"}, 'order of "xyz"'),
        ({"labels": {"spleen": 255}, "void_values": (255,)}, "labels has 255"),
        ({"labels": 0}, "labels has 0"),
    ],
)
def test_settings_that_contradict(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        system(tmp_path, **settings)

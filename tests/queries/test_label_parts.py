"""Real label maps in parts, on label maps drawn by hand and on two of KiTS23."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.queries.label_parts import NO_VALUE, LabelParts, label_parts
from medvol_r1.queries.resolvers import Unresolvable
from scipy.spatial import cKDTree

KITS = {"kidney": [1], "kidney tumor": [2], "kidney cyst": [3]}
IPL = np.array([[0, 0, -2, 0], [0, -2, 0, 0], [-5, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
"""The axes of KiTS23's headers: down, back, to the patient's left; 5 mm slices of 2 mm pixels, 0.02 ml a voxel."""


def _kits() -> np.ndarray:
    """[12, 30, 80]: kidneys of 6 x 10 x 10 voxels, a tumor at the right one, a cyst in each."""
    label = np.zeros((12, 30, 80), dtype=np.uint8)
    label[2:8, 10:20, 10:20] = 1  # low along the axis to the left: the patient's right
    label[2:8, 10:20, 60:70] = 1
    label[4:6, 12:16, 18:22] = 2
    label[2:4, 10:12, 10:12] = 3
    label[6:8, 18:20, 68:70] = 3
    return label


def parts_of(label, affine=IPL, names=KITS, **options) -> LabelParts:
    return label_parts(label, affine, names, **options)


def test_kits_in_parts():
    label = _kits()
    parts = parts_of(label)
    # 600 voxels, less 16 of the tumor and 8 of a cyst; less 8
    assert [tuple(part)[:4] for part in parts.parts] == [
        (2, "right kidney", "right", 576),
        (3, "left kidney", "left", 592),
        (1001, "kidney tumor", "right", 32),
        (1002, "kidney cyst", "right", 8),
        (1003, "kidney cyst", "left", 8),
    ]
    assert parts.parts[0].ml == pytest.approx(576 * 0.02)
    assert parts.notes == () and parts.label.dtype == np.uint16
    np.testing.assert_array_equal(parts.label == 0, label == 0)
    np.testing.assert_array_equal(parts.label == 1001, label == 2)
    np.testing.assert_array_equal(np.isin(parts.label, [2, 3]), label == 1)
    assert (parts.label[:, :, 40:][label[:, :, 40:] == 1] == 3).all()  # the left kidney


def test_the_order_in_memory_changes_nothing():
    whole, turned = parts_of(_kits()), parts_of(np.asfortranarray(_kits()))
    np.testing.assert_array_equal(whole.label, turned.label)
    assert whole.parts == turned.parts and whole.notes == turned.notes


def test_work_is_done_where_something_is_marked():
    label = np.zeros((200, 150, 80), dtype=np.uint8, order="F")
    label[50:62, 60:90] = _kits()
    tracemalloc.start()
    parts = parts_of(label)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parts.parts == parts_of(_kits()).parts
    # What is returned has 2 bytes a voxel, what is marked 1; a whole map of indices would have 8.
    assert peak < 4 * label.size


@pytest.mark.parametrize(
    ("resolver", "values"),
    [
        ("labels:2,3", [2, 3]),
        ("labels:2", [2]),
        ("labels:11", [1001]),
        ("labels:12", [1002, 1003]),
        ("kidney_with:tumor", [2]),
        ("kidney_without:tumor", [3]),
        ("lesion_in:left:cyst", [1003]),
        ("lesion_in:right:lesion", [1001, 1002]),
        ("lesion_opposite:cyst:tumor", [1003]),
        ("uppermost:cyst", [1002]),  # the first axis runs down: rows 2 to 3 lie 20 mm above 6 to 7
        ("lowermost:cyst", [1003]),
        ("lesion_in:left:tumor", []),
    ],
)
def test_an_answer_is_a_union_of_values(resolver, values):
    assert parts_of(_kits()).values_of(resolver) == values


def test_a_flipped_header_swaps_the_sides_and_up_and_down():
    parts = parts_of(_kits(), IPL * np.array([-1.0, 1.0, -1.0, 1.0]))
    assert parts.values_of("kidney_with:tumor") == [3] and parts.values_of("uppermost:cyst") == [1003]


@pytest.mark.parametrize("question", ["kidney_with:cyst", "largest:cyst"])
def test_an_ambiguous_question_says_so(question):
    with pytest.raises(Unresolvable):
        parts_of(_kits()).values_of(question)


def test_a_horseshoe_is_asked_for_whole_and_never_by_side():
    label = _kits()
    label[6:8, 14:18, 20:60] = 1
    parts = parts_of(label)
    assert parts.values_of("labels:2,3") == [2, 3] and parts.values_of("labels:11") == [1001]
    for question in ("labels:2", "kidney_with:tumor", "lesion_in:left:cyst", "largest:kidney"):
        with pytest.raises(Unresolvable, match="one piece across the midline"):
            parts.values_of(question)
    assert parts.values_of("uppermost:cyst") == [1002]


def test_three_kidneys_have_sides_but_are_not_compared():
    label = _kits()
    label[8:12, 2:8, 26:32] = 1
    parts = parts_of(label)
    assert parts.values_of("labels:2") == [2] and "2 kidneys on the right" in " ".join(parts.notes)
    assert (parts.label == 2).sum() == 576 + 144
    with pytest.raises(Unresolvable, match="2 kidneys on the right"):
        parts.values_of("kidney_with:tumor")


def test_one_kidney():
    label = _kits()
    label[:, :, 40:] = 0
    parts = parts_of(label)
    assert [part.name for part in parts.parts if part.side == "right"][0] == "right kidney"
    assert parts.values_of("labels:3") == [] and parts.values_of("lesion_in:right:tumor") == [1001]


def test_the_midline_is_that_of_the_bones():
    # One kidney right of the grid's middle, but left of a spine that stands at its edge.
    label = np.zeros((12, 30, 80), dtype=np.uint8)
    label[2:8, 10:20, 20:30], label[:, 20:24, 8:12] = 1, 5
    assert parts_of(label, names={"kidney": [1]}).values_of("labels:2") == [2]
    assert parts_of(label, names={"kidney": [1], "bone": [5]}).values_of("labels:3") == [3]
    # bones at columns 8 to 11, x = -19 mm; the kidney at columns 20 to 29, x = -49 mm; RAS: less is further left
    assert parts_of(label, names={"kidney": [1]}, midline_mm=-19.0).values_of("labels:3") == [3]


def test_organs_keep_the_values_of_the_bank_and_own_names_take_others():
    label = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    parts = label_parts(label, np.eye(4), {"spleen": [1], "aorta": [2, 3], "lungs": [4], "stomach": [7]})
    assert parts.values == {"spleen": 4, "lungs": 7, "aorta": 101, "stomach": 102}
    assert parts.label.ravel().tolist() == [0, 4, 101, 101, 7, 0, 0, 102]
    assert parts.notes == ("The label map holds values without a name, which were left out: [5, 6].",)
    assert parts.own_names == ("aorta", "stomach")
    assert parts.was_drawn("labels:7,8") and parts.was_drawn("labels:4") and not parts.was_drawn("labels:1")
    assert not parts.was_drawn("kidney_with:tumor")


def test_sided_kidneys_are_taken_as_they_are():
    parts = label_parts(_kits(), IPL, {"left kidney": [1], "right kidney": [9]})
    assert parts.values_of("labels:3") == [3] and parts.values_of("labels:2") == []


def test_what_was_joined_and_what_is_out_of_reach_is_noted():
    label = _kits()
    label[3, 10, 23] = 2  # a speck, 4 mm beside the tumor's column 21
    label[10:12, 0:3, 40:43] = 3  # more than 20 mm from any kidney
    notes = " ".join(parts_of(label).notes)
    assert "Specks of a tumor were joined to it: 1; together they have 33 voxels." in notes
    assert "lesions that belong to none are 1" in notes


def test_no_part_has_no_value():
    assert NO_VALUE not in parts_of(_kits()).label


@pytest.mark.parametrize(
    ("label", "affine", "names", "message"),
    [
        (np.zeros((2, 2, 2)), np.eye(4), KITS, "whole numbers of rank 3, got float64"),
        (np.zeros((2, 2), int), np.eye(4), KITS, r"of the shape \(2, 2\)"),
        (-np.ones((2, 2, 2), int), np.eye(4), KITS, "no negative values, got -1"),
        (np.zeros((2, 2, 2), int), np.zeros((4, 4)), KITS, "invertible 4x4"),
        (np.zeros((2, 2, 2), int), np.eye(4), {}, "names is empty"),
        (np.zeros((2, 2, 2), int), np.eye(4), {"liver": [1], "spleen": [1]}, "value 1 is 'spleen': it is 'liver' al"),
        (np.zeros((2, 2, 2), int), np.eye(4), {"liver": [0]}, "value 0 is 'liver': 0 is what nothing"),
        (np.zeros((2, 2, 2), int), np.eye(4), {"kidney": [1], "left kidney": [2]}, "and 'left kidney'; give one"),
    ],
)
def test_bad_label_maps(label, affine, names, message):
    with pytest.raises(ValueError, match=message):
        label_parts(label, affine, names)


@pytest.mark.real_ct
@pytest.mark.parametrize(
    ("case", "lesions"),
    [("case_00038", [("kidney tumor", "right")]), ("case_00257", [("kidney tumor", "left"), ("kidney cyst", "right")])],
)
def test_real_kits(real_ct_folder, case, lesions):
    """Checked against the voxels' own coordinates: RAS+ mm by nibabel, where more is further to the right."""
    file = nib.load(real_ct_folder / "kits23_labels_only" / f"{case}_segmentation.nii.gz")
    label = np.asarray(file.dataobj).astype(np.uint8)
    parts = label_parts(label, file.affine, KITS)

    def mm(mask: np.ndarray) -> np.ndarray:
        return nib.affines.apply_affine(file.affine, np.argwhere(mask))

    right, left = mm(parts.label == 2), mm(parts.label == 3)
    assert right[:, 0].min() > left[:, 0].max()  # every voxel of the right kidney is right of all of the left one
    np.testing.assert_array_equal(np.isin(parts.label, [2, 3]), label == 1)
    found = [part for part in parts.parts if part.value > 1000]
    assert [(part.name, part.side) for part in found] == lesions
    for part in found:
        lesion, own = mm(parts.label == part.value), right if part.side == "right" else left
        other = left if part.side == "right" else right
        nearest = [cKDTree(kidney).query(lesion)[0].min() for kidney in (own, other)]
        assert nearest[0] <= 5.2 < 20 < nearest[1]  # in contact (a slice is 5 mm), and far from the other kidney

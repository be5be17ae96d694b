"""Right and left of kidneys in one label, on label maps drawn by hand."""

import numpy as np
import pytest
from medvol_r1.queries.kidney_sides import kidney_sides

SHAPE = (60, 20, 30)
LEFT_FIRST = np.diag([4.0, 4.0, 4.0, 1.0])
"""RAS+: the first axis runs to the patient's right, 4 mm a voxel; the grid's middle is x = 118 mm."""
MIDLINE = 118.0


def _block(*edges: tuple[int, int]) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in edges)


def _mask(*blocks: tuple[slice, ...]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for block in blocks:
        mask[block] = True
    return mask


AT_LOW_X = _block((8, 16), (6, 14), (4, 14))  # center at 11.5 voxels: 46 mm
AT_HIGH_X = _block((44, 52), (6, 14), (4, 14))  # center at 47.5: 190 mm
NOTHING = _mask()


def test_the_affine_says_which_is_right():
    # RAS+: large x is the patient's right.
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X))
    assert found.notes == () and not found.no_sides and not found.no_comparison
    # The same array in a header whose first axis runs to the left.
    flipped = LEFT_FIRST @ np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 4.0 * (SHAPE[0] - 1)
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X), NOTHING, flipped, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_LOW_X))


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1), (1, 0, 2)])
def test_the_order_of_the_axes_does_not_matter(order):
    # A turned array has the affine's columns in the same order: KiTS23 is (Z, H, W) with the header IPL.
    turned = LEFT_FIRST.copy()
    turned[:, :3] = LEFT_FIRST[:, list(order)]
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X).transpose(order), NOTHING.transpose(order), turned, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X).transpose(order))


@pytest.mark.parametrize("midline_mm", [20.0, 230.0])
def test_two_kidneys_need_no_midline(midline_mm):
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X), NOTHING, LEFT_FIRST, midline_mm)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X))
    assert "one side of the midline" in found.notes[0] and not found.no_sides and not found.no_comparison


@pytest.mark.parametrize(("kidney", "right"), [(AT_HIGH_X, True), (AT_LOW_X, False)])
def test_one_kidney_is_on_its_side_of_the_midline(kidney, right):
    found = kidney_sides(_mask(kidney), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(kidney) if right else NOTHING)
    assert not found.no_sides and not found.no_comparison


def test_no_kidney():
    found = kidney_sides(NOTHING, _mask(AT_LOW_X), LEFT_FIRST, MIDLINE)
    assert not found.right.any() and found.notes == ("No kidney is in view.",)


def test_three_kidneys_go_to_their_sides_and_are_not_compared():
    transplant = _block((40, 46), (4, 12), (20, 28))
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X, transplant), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X, transplant))
    assert found.no_comparison.startswith("There are 2 kidneys on the right") and not found.no_sides


def test_a_horseshoe_has_no_sides_but_is_whole():
    horseshoe = _mask(AT_LOW_X, AT_HIGH_X, _block((16, 44), (9, 11), (4, 6)))
    found = kidney_sides(horseshoe, NOTHING, LEFT_FIRST, MIDLINE)
    # Cut at x = 118 mm, between the voxels 29 (116 mm) and 30 (120 mm).
    np.testing.assert_array_equal(np.flatnonzero(found.right.any(axis=(1, 2))), np.arange(30, 52))
    assert "horseshoe" in found.no_sides and found.no_sides == found.no_comparison


def test_a_kidney_that_a_lesion_has_torn_is_one():
    upper, lesion, lower = (_block((44, 52), (6, 14), edge) for edge in ((4, 10), (10, 14), (14, 20)))
    found = kidney_sides(_mask(AT_LOW_X, upper, lower), _mask(lesion), LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(upper, lower))
    assert found.no_comparison == ""
    # Without the lesion the same two pieces may be two kidneys.
    apart = kidney_sides(_mask(AT_LOW_X, upper, lower), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(apart.right, found.right)
    assert "or pieces of one" in apart.no_comparison


def test_a_lesion_that_joins_both_kidneys_does_not_make_them_one():
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X), _mask(_block((16, 44), (6, 14), (4, 14))), LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X))
    assert not found.no_sides and not found.no_comparison


def test_two_pieces_on_one_side_are_no_pair():
    # 8 voxels, 32 mm, from center to center: too near for a right and a left kidney.
    pieces = (_block((40, 44), (6, 14), (4, 9)), _block((48, 52), (6, 14), (12, 17)))
    found = kidney_sides(_mask(*pieces), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(*pieces))
    assert "2 kidneys on the right" in found.no_comparison


def test_a_fragment_goes_to_its_side_and_counts_as_no_kidney():
    # 8 voxels of 640 + 640 + 8: less than a tenth.
    fragment = _block((40, 42), (2, 4), (20, 22))
    found = kidney_sides(_mask(AT_LOW_X, AT_HIGH_X, fragment), NOTHING, LEFT_FIRST, MIDLINE)
    np.testing.assert_array_equal(found.right, _mask(AT_HIGH_X, fragment))
    assert found.no_comparison == ""

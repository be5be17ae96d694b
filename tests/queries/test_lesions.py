"""Assignment of lesions to kidneys on label maps drawn by hand."""

import numpy as np
import pytest
from label_blocks import BUSY, CYST, KIDNEYS, LEFT, RIGHT, TUMOR, cube, volume
from medvol_r1.queries.lesions import describe

MM = np.diag([2.0, 2.0, 2.0, 1.0])
MM[:3, 3] = 10.0, 20.0, -30.0


def test_a_lesion_belongs_to_the_kidney_it_touches():
    lesions = describe(BUSY).lesions
    assert sorted((lesion.label, lesion.side, lesion.voxels) for lesion in lesions) == [
        (TUMOR, "right", 27),
        (CYST, "left", 64),
        (CYST, "right", 8),
    ]


def test_a_corner_is_contact():
    # the cyst's corner voxel (10, 12, 10) meets the right kidney's (9, 11, 9) in the 26 neighborhood only
    label = volume(*KIDNEYS, cube(CYST, 10, 12, 10, 2))
    assert [lesion.side for lesion in describe(label).lesions] == ["right"]


@pytest.mark.parametrize(("x", "side"), [(13, "right"), (24, "left")])
def test_a_lesion_that_touches_none_belongs_to_the_nearest(x, side):
    # right kidney ends at 9, left one begins at 28: from 13 it is 4 against 13 or more voxels
    assert [lesion.side for lesion in describe(volume(*KIDNEYS, cube(CYST, x, 6, 4, 2))).lesions] == [side]


def test_a_lesion_that_touches_both_belongs_to_the_nearest_on_the_mean():
    # a bar from the right kidney's edge to the left one's, with a bulk beside the left one
    bar = (TUMOR, slice(10, 28), slice(6, 7), slice(4, 5))
    label = volume(*KIDNEYS, bar, cube(TUMOR, 24, 6, 4, 4))
    assert [lesion.side for lesion in describe(label).lesions] == ["left"]


def test_a_lesion_at_the_border_of_the_volume():
    label = volume((RIGHT, slice(0, 6), slice(0, 6), slice(0, 6)), cube(LEFT, 28, 4, 2, 8), cube(CYST, 0, 0, 0, 2))
    assert [lesion.side for lesion in describe(label).lesions] == ["right"]


# --- with an affine ---------------------------------------------------------------------------------------------------


def test_height_is_along_the_patient():
    # the tumor's voxels 4 to 6 along z: center 5, at 2 * 5 - 30 = -20 mm; upside down with the axis reversed
    label = volume(*KIDNEYS, cube(TUMOR, 4, 6, 4, 3))
    assert describe(label, MM).lesions[0].height_mm == pytest.approx(-20.0)
    assert describe(label).lesions[0].height_mm is None
    down = MM.copy()
    down[2, 2] = -2.0
    assert describe(label, down).lesions[0].height_mm == pytest.approx(-40.0)
    # in an array [Z, Y, X] height runs along the first axis
    assert describe(label.transpose(2, 1, 0), MM[:, [2, 1, 0, 3]]).lesions[0].height_mm == pytest.approx(-20.0)


@pytest.mark.parametrize(("gap", "side"), [(10, "right"), (11, None)])
def test_a_lesion_out_of_reach_belongs_to_no_kidney(gap, side):
    # the kidney ends at voxel 9; 10 voxels of 2 mm are 20 mm, just within reach
    label = volume(KIDNEYS[0], cube(TUMOR, 9 + gap, 6, 4, 3))
    assert [lesion.side for lesion in describe(label, MM).lesions] == [side]
    assert [lesion.side for lesion in describe(label).lesions] == ["right"]  # phantoms: as ever


def test_the_nearest_kidney_is_nearest_in_mm():
    # the right kidney is 4 voxels off along x, the left one 3 along z; with z voxels of 5 mm it is 4 mm against 15
    label = volume(cube(RIGHT, 3, 4, 0, 4), cube(LEFT, 8, 4, 5, 5), cube(CYST, 10, 6, 2, 1))
    assert [lesion.side for lesion in describe(label).lesions] == ["left"]
    assert [lesion.side for lesion in describe(label, np.diag([1.0, 1.0, 5.0, 1.0])).lesions] == ["right"]


def test_specks_join_the_next_lesion_and_are_counted():
    # a cyst of 27 voxels, a speck of 1 voxel 2 voxels (4 mm) off, and one 7 voxels (14 mm) off: too far
    label = volume(*KIDNEYS, cube(CYST, 4, 6, 4, 3), cube(CYST, 8, 6, 4, 1), cube(CYST, 4, 15, 4, 1))
    found = describe(label, MM, specks_below=8).lesions
    assert sorted((lesion.voxels, lesion.specks) for lesion in found) == [(1, 0), (28, 1)]
    assert len(describe(label, MM).lesions) == 3
    union = np.zeros(label.shape, dtype=bool)
    for lesion in found:
        union[lesion.window] |= lesion.mask
    np.testing.assert_array_equal(union, label == CYST)


def test_specks_alone_stay_lesions():
    label = volume(*KIDNEYS, cube(CYST, 4, 6, 4, 1), cube(CYST, 7, 6, 4, 1))
    found = describe(label, MM, specks_below=8).lesions
    assert [(lesion.voxels, lesion.specks) for lesion in found] == [(1, 0), (1, 0)]

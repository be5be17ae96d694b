"""Measures of marks: golden values with their arithmetic, and what holds for all."""

import math

import numpy as np
import pytest
from medvol_r1.metrics import matched_box_iou
from medvol_r1.umrg import measures
from medvol_r1.umrg.marks import Marks

TRUE = Marks(np.array([100, 200, 500, 400.0]), np.array([[200, 300], [400, 300.0]]))
ALL = ("box_iou", "point_dice", "box_alignment", "box_scale", "point_alignment", "point_angle", "validity")


def marks(box=TRUE.box, points=TRUE.points):
    return Marks(np.array(box, dtype=float), np.array(points, dtype=float))


@pytest.mark.parametrize("name", ALL)
def test_equal_marks_measure_one(name):
    measure = getattr(measures, name)
    tiny = marks([10, 10, 11, 11], [[10, 10], [10, 10]])
    outside = marks(points=[[0, 0], [1000, 1000]])  # points that their own box leaves out
    for one in (TRUE, tiny, outside):
        assert measure(one, one) == pytest.approx(1.0)
        assert measure(marks(one.box, one.points[::-1]), one) == pytest.approx(1.0), "the order of points is free"


@pytest.mark.parametrize("name", ALL)
def test_any_marks_measure_between_zero_and_one(name):
    rng = np.random.default_rng(0)
    for _ in range(200):
        corners, sizes = rng.integers(0, 900, (2, 2)), rng.integers(1, 100, (2, 2))
        boxes, points = np.concatenate([corners, corners + sizes], axis=1), rng.integers(0, 1001, (2, 2, 2))
        predicted, true = (marks(box, pair) for box, pair in zip(boxes, points, strict=True))
        assert 0 <= getattr(measures, name)(predicted, true) <= 1 + 1e-12


def test_box_iou_is_that_of_the_metrics():
    rng = np.random.default_rng(0)
    for corner, size in zip(rng.integers(0, 500, (20, 2)), rng.integers(1, 400, (20, 2)), strict=True):
        predicted = marks([*corner, *(corner + size)])
        assert measures.box_iou(predicted, TRUE) == pytest.approx(matched_box_iou([predicted.box], [TRUE.box]))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        # Discs of radius 100. One inside the other: 2 * 50**2 / (50**2 + 100**2) = 0.4.
        ([[250, 300], [350, 300]], 0.4),
        # At a right angle, same centre: the same disc.
        ([[300, 200], [300, 400]], 1.0),
        # Centres 100 apart: 100**2 * (2 pi / 3 - sqrt(3) / 2) = 12283.7 of 31415.9.
        ([[300, 300], [500, 300]], 0.391002),
        ([[400, 300], [600, 300]], 0.0),  # they touch
        # A pair on one spot is a disc of radius 5: 2 * 5**2 / (5**2 + 100**2).
        ([[300, 300], [300, 300]], 0.004988),
    ],
)
def test_point_dice_golden(points, expected):
    assert measures.point_dice(marks(points=points), TRUE) == pytest.approx(expected, abs=1e-5)


def test_point_dice_is_the_dice_of_drawn_discs():
    first, second = marks(points=[[200, 250], [420, 310]]), TRUE
    y, x = np.mgrid[0:1001, 0:1001]
    drawn = [
        np.hypot(x - (p[0, 0] + p[1, 0]) / 2, y - (p[0, 1] + p[1, 1]) / 2) <= math.dist(*p) / 2
        for p in (first.points, second.points)
    ]
    expected = 2 * (drawn[0] & drawn[1]).sum() / (drawn[0].sum() + drawn[1].sum())
    assert measures.point_dice(first, second) == pytest.approx(expected, abs=2e-3)  # pixels have edges


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[100, 100], [100, 900]], 0.0),  # upright
        ([[100, 100], [200, 200]], math.sqrt(0.5)),
        ([[900, 500], [100, 500]], 1.0),  # backwards
        ([[300, 300], [300, 300]], 0.0),  # nowhere
    ],
)
def test_point_angle_golden(points, expected):
    assert measures.point_angle(marks(points=points), TRUE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("box", "points", "expected"),
    [
        (TRUE.box, TRUE.points, 1.0),
        ([100, 200, 300, 400], TRUE.points, 0.7 + 0.3 * (0.5 + 1) / 2),  # leaves one true point out
        ([600, 600, 700, 700], TRUE.points, 0.7 + 0.3 * (0.125 + 1) / 2),  # both, and an eighth of the area
        ([0, 100, 1000, 400], TRUE.points, 0.7 + 0.3 * (0.5 + 1) / 2),  # 3.75 times the area
        (TRUE.box, [[50, 300], [400, 300]], 0.7 + 0.3 * (1 + 0.5) / 2),  # one outside
        (TRUE.box, [[300, 300], [306, 308]], 1.0),  # 10 apart
        (TRUE.box, [[300, 300], [304, 304]], 0.7 + 0.3 * (1 + 0.5) / 2),  # too close
    ],
)
def test_validity_golden(box, points, expected):
    assert measures.validity(marks(box, points), TRUE) == pytest.approx(expected)


def test_the_concave_curve_keeps_its_ends():
    # ln(3 * 0.5 + 1) / ln 4
    assert [measures.concave(value) for value in (0, 0.5, 1)] == pytest.approx([0, 0.660964, 1], abs=1e-6)


def test_alignment_fades_to_nothing_within_a_diagonal():
    diagonal = math.hypot(400, 200)
    found = [measures.box_alignment(marks(TRUE.box + shift * diagonal), TRUE) for shift in (0, 0.25, 0.5, 0.75, 1, 3)]
    # The curve 1 / (1 + exp(6 v - 3)): 0.952574, 0.817574, 0.5, 0.182426, 0.047426 at these.
    assert found == pytest.approx([1, 0.850854, 0.5, 0.149146, 0, 0], abs=1e-5)

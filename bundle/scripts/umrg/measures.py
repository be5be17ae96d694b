"""How near predicted marks come to the true ones: each measure in 0..1, 1 for equal marks.

All are functions of predicted and true `Marks`, in the frame 0 to 1000. What they are made of is MedReasoner's
(arXiv 2508.08177); what is mended, and why, is in `bundle/docs/medreasoner.md`.
"""

from __future__ import annotations

import math

import numpy as np

from .marks import Marks

# A pair of points marks a disc of at least one percent of the image across: else two marks of a tiny target would have
# to meet to the unit.
_SMALLEST_RADIUS = 5.0
# Points nearer than this, or than half of the true distance, say nothing of a direction.
_LEAST_SPREAD = 10.0


def box_iou(predicted: Marks, true: Marks) -> float:
    """Intersection over union of the boxes: `metrics.matched_box_iou` of one and one, at a hundredth of its time."""
    shared = math.prod(
        max(0.0, min(predicted.box[axis + 2], true.box[axis + 2]) - max(predicted.box[axis], true.box[axis]))
        for axis in (0, 1)
    )
    return float(shared / (_area(predicted) + _area(true) - shared))


def point_dice(predicted: Marks, true: Marks) -> float:
    """pDice: Dice, 2 |A and B| / (|A| + |B|), of the two discs that have the pairs of points as diameters.

    Discs of one size of radius 50 whose centres are 50 apart share 2 * 50**2 * (pi / 3 - sqrt(3) / 4) = 3070.9 of 7854:

    >>> first = Marks(np.array([0, 0, 100, 100.0]), np.array([[0, 50], [100, 50.0]]))
    >>> second = Marks(first.box, first.points + [50, 0])
    >>> round(point_dice(first, second), 4)
    0.391
    """
    (centre_a, radius_a), (centre_b, radius_b) = _disc(predicted), _disc(true)
    shared = _shared_area(math.dist(centre_a, centre_b), radius_a, radius_b)
    return float(2 * shared / (math.pi * (radius_a**2 + radius_b**2)))


def box_alignment(predicted: Marks, true: Marks) -> float:
    """How near the edges are: the mean distance of the four edges, in diagonals of the true box."""
    return _fading(np.abs(predicted.box - true.box).mean() / _diagonal(true), middle=0.5)


def box_scale(predicted: Marks, true: Marks) -> float:
    """How alike the sizes and proportions are: the root of the squared logarithms of both ratios."""
    (width, height), (true_width, true_height) = (marks.box[2:] - marks.box[:2] for marks in (predicted, true))
    area = math.log(width * height / (true_width * true_height))
    aspect = math.log(width / height / (true_width / true_height))
    return _fading(math.hypot(area, aspect), middle=0.5)


def point_alignment(predicted: Marks, true: Marks) -> float:
    """How near the points are, whichever is called the first: their mean distance along x and y, in diagonals of the
    true box."""
    return _fading(point_distance(predicted, true) / _diagonal(true), middle=0.5)


def point_distance(predicted: Marks, true: Marks) -> float:
    """The mean distance of the coordinates, 0 to 1000, in the better of both orders."""
    return min(float(np.abs(points - true.points).mean()) for points in (predicted.points, predicted.points[::-1]))


def point_angle(predicted: Marks, true: Marks) -> float:
    """How alike the directions from point to point are: |cos| of the angle between them.

    1 where the true points have no direction, so that none is wrong; 0 where the predicted ones have none.
    """
    wanted, found = (marks.points[1] - marks.points[0] for marks in (true, predicted))
    lengths = np.linalg.norm(wanted), np.linalg.norm(found)
    if lengths[0] < _LEAST_SPREAD:
        return 1.0
    return min(1.0, float(abs(wanted @ found) / (lengths[0] * lengths[1]))) if lengths[1] > 0 else 0.0


def validity(predicted: Marks, true: Marks) -> float:
    """The factor 0.7 + 0.3 * mean(box, points): half for each thing that marks of an object cannot be.

    Box: a true point that it leaves out; an area of less than half or more than twice the true one. Points: one outside
    the true box; a pair that lies together although the true one does not.
    """
    is_size_wrong = not 0.5 <= _area(predicted) / _area(true) <= 2
    # What the true marks themselves do not hold is asked of nobody.
    left_out = np.count_nonzero(_inside(true.points, true.box) & ~_inside(true.points, predicted.box))
    outside = np.count_nonzero(~_inside(predicted.points, true.box)) if _inside(true.points, true.box).all() else 0
    least = min(_LEAST_SPREAD, _spread(true) / 2)
    of_box = 0.5 ** (left_out + is_size_wrong)
    of_points = 0.5 ** (outside + (_spread(predicted) < least))
    return 0.7 + 0.3 * (of_box + of_points) / 2


def points_inside(predicted: Marks, true: Marks) -> bool:
    """Whether both predicted points lie in the true box, edges included."""
    return bool(_inside(predicted.points, true.box).all())


def concave(value: float) -> float:
    """ln(3 v + 1) / ln 4: 0 to 0, 1 to 1, steep where little is right (MedReasoner's slog without its floor)."""
    return math.log(3 * value + 1) / math.log(4)


def _fading(error: float, middle: float) -> float:
    """1 without an error, half of the way down at `middle`, 0 from twice that on: a logistic curve of slope 3 / middle
    between its ends (MedReasoner's sexp without its floor)."""

    def curve(value: float) -> float:
        return 1 / (1 + math.exp(3 / middle * (value - middle)))

    if error >= 2 * middle:
        return 0.0
    return (curve(error) - curve(2 * middle)) / (curve(0.0) - curve(2 * middle))


def _disc(marks: Marks) -> tuple[np.ndarray, float]:
    return marks.points.mean(axis=0), max(_spread(marks) / 2, _SMALLEST_RADIUS)


def _spread(marks: Marks) -> float:
    return math.dist(*marks.points)


def _area(marks: Marks) -> float:
    x1, y1, x2, y2 = marks.box
    return (x2 - x1) * (y2 - y1)


def _diagonal(marks: Marks) -> float:
    return math.dist(marks.box[:2], marks.box[2:])


def _inside(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    return ((points >= box[:2]) & (points <= box[2:])).all(axis=1)


def _shared_area(distance: float, first: float, second: float) -> float:
    """Area that two discs of these radii share, their centres that far apart."""
    if distance >= first + second:
        return 0.0
    small, large = sorted((first, second))
    if distance <= large - small:
        return math.pi * small**2
    # The lens is two sectors without the kite between centres and crossings.
    angles = [
        2 * math.acos(max(-1.0, min(1.0, (distance**2 + own**2 - other**2) / (2 * distance * own))))
        for own, other in ((first, second), (second, first))
    ]
    return sum(radius**2 / 2 * (angle - math.sin(angle)) for radius, angle in zip((first, second), angles, strict=True))

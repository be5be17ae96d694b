"""Shapes on a canvas without warp, where volumes and distances have formulas."""

import numpy as np
import pytest
from medvol_r1.phantom.canvas import Canvas, ball, carve, draw_bumps, ellipsoid, join


def canvas_of(step=2.0, half=60.0, warp_mm=0.0, roll_rad=0.0, seed=0):
    """A cube around the origin."""
    axis = np.arange(-half, half + step / 2, step)
    return Canvas(axis, axis, axis, roll_rad, np.random.default_rng(seed), warp_mm)


def test_paint_covers_the_volume_of_a_ball():
    """Partial volume: HU summed over all voxels is the ball's volume, 4/3 pi r^3, to a percent."""
    canvas = canvas_of()
    region = canvas.region((5, -3, 8), (30, 30, 30))
    canvas.paint(region, ball(region, (5, -3, 8), 30), 200.0, label=3)
    covered = (canvas.image + 1000).sum() / 1200 * 2**3
    assert covered == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.01)
    assert (canvas.label == 3).sum() * 2**3 == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.01)
    z, y, x = (np.argwhere(canvas.label == 3).mean(axis=0) - 30) * 2
    np.testing.assert_allclose((x, y, z), (5, -3, 8), atol=0.1)


def test_half_a_voxel_is_half_of_its_hu():
    """Distance 0 is the middle of the border: a voxel there is blended 1:1, one half a pixel inside is full."""
    canvas = canvas_of()
    region = canvas.region((0, 0, 0), (1, 1, 1))
    distance = np.full(region.x.shape, -1.0, np.float32)
    distance[0, 0, :3] = (0.0, 0.5, 1.0)
    canvas.paint(region, distance, 0.0, label=7)
    assert canvas.image[region.where][0, 0, :4].tolist() == pytest.approx([-500, -250, 0, -1000][: region.x.shape[2]])
    assert canvas.label[region.where][0, 0, :3].tolist() == [0, 7, 7]


def test_vessels_are_painted_only_within_their_organ_and_keep_its_label():
    canvas = canvas_of()
    organ = canvas.region((0, 0, 0), (20, 20, 20))
    canvas.paint(organ, ball(organ, (0, 0, 0), 20), 60.0, label=1)
    before = canvas.label.copy()
    canvas.paint_within(*canvas.tube([(-50, 0, 0), (50, 0, 0)], [6, 6]), 160.0, 1)
    assert np.array_equal(canvas.label, before)
    assert canvas.image[30, 30, 30] == 160 and canvas.image[30, 30, 30 + 15] == -1000


def test_a_shape_without_a_label_takes_the_label_below_away():
    canvas = canvas_of()
    whole = canvas.slab(-100, 100)
    canvas.paint(whole, ball(whole, (0, 0, 0), 20), 60.0, label=1)
    canvas.paint(whole, ball(whole, (0, 0, 0), 10), 30.0)
    assert canvas.label[30, 30, 30] == 0 and canvas.label[30, 30, 30 + 7] == 1


def test_a_tube_is_a_cone_with_round_ends():
    """Radius 4 to 10 over 40 mm: halfway it is 7; beyond its end a ball of the end's radius."""
    canvas = canvas_of()
    region, distance = canvas.tube([(-20, 0, 0), (20, 0, 0)], [4, 10], halo=6)
    on_axis = (region.y == 0) & (region.z == 0)
    at = {float(x): float(d) for x, d in zip(region.x[on_axis], distance[on_axis], strict=True)}
    assert (at[-20], at[0], at[20], at[26]) == pytest.approx((4, 7, 10, 4), abs=1e-4)
    beside = (region.x == 0) & (region.y == 12) & (region.z == 0)
    assert distance[beside].tolist() == pytest.approx([7 - 12], abs=1e-4)


def test_an_ellipsoid_has_its_radii_and_its_turn():
    canvas = canvas_of()
    region = canvas.slab(-100, 100)
    shape = ellipsoid(region, (0, 0, 0), (40, 20, 10))
    inside = np.argwhere(shape > 0) * 2 - 60
    np.testing.assert_array_equal(np.abs(inside).max(axis=0), (8, 18, 38))  # z, y, x: less than the radii
    assert (shape > 0).sum() * 8 == pytest.approx(4 / 3 * np.pi * 40 * 20 * 10, rel=0.03)  # less the border
    turned = ellipsoid(region, (0, 0, 0), (40, 20, 10), turn_rad=np.pi / 2)
    np.testing.assert_array_equal(turned > 0, (shape > 0).transpose(0, 2, 1))
    leaning = ellipsoid(region, (0, 0, 0), (10, 10, 40), lean=(0.5, 0.0))
    z, _, x = (np.argwhere(leaning > 0) * 2 - 60).T
    assert np.polyfit(z, x, 1)[0] == pytest.approx(0.5, abs=0.02)


def test_bumps_move_the_border_by_their_amplitude():
    """One harmonic of amplitude 0.2 and order 2: the radius is 1.2 along x and 0.8 along y, at the equator."""
    canvas = canvas_of(step=1.0, half=40.0)
    region = canvas.slab(-1, 1)
    shape = ellipsoid(region, (0, 0, 0), (25, 25, 25), bumps=np.array([[0.2, 0.0, 0.0]]))
    middle = shape[shape.shape[0] // 2]
    assert np.abs(np.flatnonzero(middle[40] > 0) - 40).max() == pytest.approx(30, abs=1)
    assert np.abs(np.flatnonzero(middle[:, 40] > 0) - 40).max() == pytest.approx(20, abs=1)
    bumps = draw_bumps(np.random.default_rng(0), 0.1, count=4)
    assert bumps.shape == (4, 3) and (bumps[:, 0] <= 0.1 * 2 / np.arange(2, 6)).all() and (bumps[:, 0] > 0).all()


def test_union_and_difference_with_a_rounded_seam():
    """Where two shapes are equally deep the seam adds blend / 4; a blend away it adds nothing."""
    a, b = np.array([3.0, 3.0, -5.0], np.float32), np.array([3.0, -9.0, 4.0], np.float32)
    np.testing.assert_allclose(join(a, b, 8), (3 + 8 / 4, 3, 4), atol=1e-6)
    np.testing.assert_allclose(carve(a, b, 4), (-3, 3, -5 - (4 - 1) ** 2 / 16), atol=1e-6)


@pytest.mark.parametrize("roll_rad", [0.0, 0.5, -0.5])
def test_a_region_holds_all_that_it_is_asked_for(roll_rad):
    """In a turned and warped patient too, and it is not the whole canvas."""
    canvas = canvas_of(warp_mm=4.0, roll_rad=roll_rad)
    centre, half = (10.0, -5.0, 5.0), (4.0, 40.0, 8.0)
    region, whole = canvas.region(centre, half), canvas.slab(-1e4, 1e4)
    inside = np.logical_and.reduce(
        [np.abs(axis - c) <= h for axis, c, h in zip(whole[1:], centre, half, strict=True)], axis=0
    )
    box = np.zeros(inside.shape, bool)
    box[region.where] = True
    assert inside.any() and not (inside & ~box).any() and box.mean() < 0.5


def test_the_warp_is_the_patient_s_and_not_the_grid_s():
    """The same point of the scanner is the same point of the patient on a finer grid."""
    coarse, fine = canvas_of(4.0, warp_mm=20.0), canvas_of(2.0, warp_mm=20.0)
    for one, other in zip(coarse.slab(-1e4, 1e4)[1:], fine.slab(-1e4, 1e4)[1:], strict=True):
        np.testing.assert_allclose(one, other[::2, ::2, ::2], atol=1e-3)
    plain = canvas_of(4.0).slab(-1e4, 1e4)
    moved = np.abs(coarse.slab(-1e4, 1e4).x - plain.x).max()
    assert 1 < moved <= 20


def test_layers_add_up():
    canvas = canvas_of()
    whole = canvas.slab(-1e4, 1e4)
    for radius, step in ((40, 900.0), (20, 150.0)):
        canvas.add_layer(ball(whole, (0, 0, 0), radius), step)
    assert canvas.image[30, 30, 30] == pytest.approx(50) and canvas.image[30, 30, 30 + 15] == pytest.approx(-100)

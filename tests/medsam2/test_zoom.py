"""Crops around boxes: golden windows, properties, and blobs that come back where they were."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.medsam2.steps import Decoded, ImageFeatures
from medvol_r1.medsam2.zoom import Crop, crop_around, in_crops, whole_slice
from medvol_r1.propagation import SlicePropagator

HEIGHT, WIDTH = 60, 90


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        # the longer side is 20: reach (0.5 + margin) * 20 from the centre (40, 30)
        ((30, 25, 50, 35), 0.0, (30, 20, 50, 40)),
        ((30, 25, 50, 35), 0.5, (20, 10, 60, 50)),
        # the longer side is the height 10, centre (20.5, 15): 20.5 - 7.5 = 13, 20.5 + 7.5 = 28; rows 7.5..22.5, out to
        # 7..23 makes a side of 16, and the columns get the sixteenth pixel on the right
        ((18, 10, 23, 20), 0.25, (13, 7, 29, 23)),
        # fractions go outwards: columns 10.3..14.7 -> 10..15; rows 20.0..24.4 -> 20..25
        ((10.3, 20.0, 14.7, 24.4), 0.0, (10, 20, 15, 25)),
        # at the corner: centre (5, 4), reach 10 -> -5..15 and -6..14, shifted to 0..20
        ((0, 0, 10, 8), 0.5, (0, 0, 20, 20)),
        ((80, 52, 90, 60), 0.5, (70, 40, 90, 60)),
        # side 70 is longer than the 60 rows: all of them, and 70 of the 90 columns
        ((30, 10, 65, 40), 0.5, (12, 0, 83, 60)),
        ((30, 10, 65, 40), 2.0, (0, 0, 90, 60)),
        ((0, 0, 90, 60), 0.0, (0, 0, 90, 60)),
        # (33 - 7e-15 + 34) / 2 - (1 + 7e-15) / 2 is 33.0 in floating point, above the box's own edge
        ((0.0, 32.99999999999999, 0.01, 34.0), 0.0, (0, 32, 2, 34)),
    ],
)
def test_golden_crops(box, margin, expected):
    assert crop_around(box, margin, HEIGHT, WIDTH) == expected


@st.composite
def boxes(draw):
    x = sorted(draw(st.lists(st.floats(0, WIDTH - 0.01), min_size=2, max_size=2)))
    y = sorted(draw(st.lists(st.floats(0, HEIGHT - 0.01), min_size=2, max_size=2)))
    return x[0], y[0], max(x[1], x[0] + 0.01), max(y[1], y[0] + 0.01)


@settings(max_examples=300, deadline=None)
@given(box=boxes(), margin=st.floats(0, 20))
def test_a_crop_is_a_square_in_the_slice_with_room_around_the_box(box, margin):
    crop = crop_around(box, margin, HEIGHT, WIDTH)
    assert all(isinstance(edge, int) for edge in crop)
    assert 0 <= crop.x1 <= box[0] and box[2] <= crop.x2 <= WIDTH
    assert 0 <= crop.y1 <= box[1] and box[3] <= crop.y2 <= HEIGHT
    longer = max(box[2] - box[0], box[3] - box[1])
    side = max(crop.width, crop.height)
    # at most a pixel more on each side than was asked for; less only where the slice ends
    assert side <= math.ceil((1 + 2 * margin) * longer) + 2
    assert (crop.width, crop.height) == (min(side, WIDTH), min(side, HEIGHT))
    room = [box[0] - crop.x1, crop.x2 - box[2], box[1] - crop.y1, crop.y2 - box[3]]
    at_end = [crop.x1 == 0, crop.x2 == WIDTH, crop.y1 == 0, crop.y2 == HEIGHT]
    assert all(r >= margin * longer - 1e-6 or end for r, end in zip(room, at_end, strict=True))


@settings(max_examples=100, deadline=None)
@given(box=boxes(), margin=st.floats(0, 3), side=st.sampled_from([32, 96, 512]))
def test_a_box_in_its_crop_maps_back(box, margin, side):
    crop = crop_around(box, margin, HEIGHT, WIDTH)
    inside = in_crops(torch.tensor(box, dtype=torch.float64).reshape(1, 2, 2), [crop], side).flatten()
    assert (inside >= -1e-9).all() and (inside <= side + 1e-9).all()
    back = inside / side * torch.tensor([crop.width, crop.height] * 2) + torch.tensor([crop.x1, crop.y1] * 2)
    torch.testing.assert_close(back, torch.tensor(box, dtype=torch.float64), rtol=0, atol=1e-9)


def test_boxes_each_in_its_crop():
    given_boxes = torch.tensor([[10.0, 20, 30, 40], [10, 20, 30, 40]], dtype=torch.float64)
    crops = [Crop(0, 20, 40, 60), whole_slice(HEIGHT, WIDTH)]
    # (10 - 0) / 40 * 80 = 20, (20 - 20) / 40 * 80 = 0, ...; 10 / 90 * 80, 20 / 60 * 80, ...
    expected = [[20, 0, 60, 40], [10 / 90 * 80, 20 / 60 * 80, 30 / 90 * 80, 40 / 60 * 80]]
    found = in_crops(given_boxes.reshape(2, 2, 2), crops, 80)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64).reshape(2, 2, 2))
    assert in_crops(torch.zeros(0, 2, 2), [], 80).shape == (0, 2, 2)


def test_pixels_index_rows_then_columns():
    slices = np.zeros((3, HEIGHT, WIDTH))
    crop = Crop(5, 10, 25, 50)
    assert slices[..., *crop.pixels].shape == (3, crop.height, crop.width) == (3, 40, 20)
    slices[:, 10:50, 5:25] = 1
    assert slices[..., *crop.pixels].all() and slices.sum() == 3 * 40 * 20


# The driver with zoom ------------------------------------------------------------------------------------------------


BOXES = [[5, 6, 17, 16], [30.5, 10, 50, 29], [2, 30, 12, 39]]


@pytest.fixture
def bright_is_inside(monkeypatch):
    """In the place of the model's steps: the logits are the grey values seen, less 0.5, 32 x 32 for 64 x 64 pixels."""

    def see(model, pixels):
        grey = F.avg_pool2d(pixels[:, :1] * 0.229 + 0.485, 2)
        return ImageFeatures(grey, grey, grey)

    def threshold(model, features, boxes=None):
        logits, ones = features.tokens[:, 0] - 0.5, torch.ones(len(features.tokens))
        return Decoded(logits, logits, ones[:, None], ones, ones)

    for step, stand_in in {
        "medsam2.slice_features.encode": see,
        "propagation.decode": threshold,
        "propagation.attend": lambda model, tokens, *memories: tokens,
        "propagation.without_memory": lambda model, tokens: tokens,
        "propagation.remember": lambda model, tokens, *seen, binary: torch.zeros(1, len(tokens), 1),
    }.items():
        monkeypatch.setattr(f"medvol_r1.{step}", stand_in)


@pytest.mark.parametrize("margin", [0.3, 0.5, 1.0])
@pytest.mark.parametrize(("top", "left"), [(14, 20), (0, 0), (28, 42), (3, 41), (17, 9)])
def test_a_blob_comes_back_within_half_a_pixel(tiny, bright_is_inside, margin, top, left):
    slices = np.full((3, 40, 56), 0.2, np.float32)
    rows, columns = slice(top, top + 9), slice(left, left + 11)
    slices[:, rows, columns] = 0.8
    box = [left - 0.3, top + 0.2, left + 11.4, top + 9]
    logits = SlicePropagator(tiny, zoom_margin=margin).logits(slices, 1, [box])[0]
    blob = torch.from_numpy(slices > 0.5)
    assert torch.equal(SlicePropagator(tiny, zoom_margin=margin).mask(slices, 1, [box]), logits > 0)
    for axis in (1, 2):
        found, true = ((mask.nonzero()[:, axis] + 0.5).mean() for mask in ((logits > 0).double(), blob.double()))
        assert abs(found - true) < 0.25
    # every pixel whose square is not cut by an edge of the blob is right
    inner = torch.zeros_like(blob)
    inner[:, top + 1 : top + 8, left + 1 : left + 10] = True
    outer = F.max_pool2d(blob.float(), 3, stride=1, padding=1) > 0
    assert (logits[inner] > 0).all() and (logits[~outer] < 0).all()
    crop = crop_around(np.clip(box, 0, [56, 40, 56, 40]), margin, 40, 56)
    outside = torch.ones_like(blob)
    outside[:, *crop.pixels] = False
    assert (logits[outside] == -1024).all() and (logits[~outside] > -1).all()


def test_zoom_sees_more_than_the_whole_slice(tiny, bright_is_inside):
    """Stripes of two pixels: 128 columns in 32 logits lose them, a crop of 24 keeps them."""
    slices = np.full((1, 128, 128), 0.5, np.float32)
    slices[:, :, 0::4] = slices[:, :, 1::4] = 0.9
    slices[:, :, 2::4] = slices[:, :, 3::4] = 0.1
    box, inside = [[52, 60, 64, 72]], np.s_[:, 56:76, 48:68]
    stripes = torch.from_numpy(slices > 0.5)[inside]
    wrong = {
        margin: (SlicePropagator(tiny, zoom_margin=margin).mask(slices, 0, box)[inside] != stripes).float().mean()
        for margin in (None, 0.5)
    }
    assert wrong[0.5] == 0 and wrong[None] > 0.3


def test_a_crop_of_the_whole_slice_is_no_zoom(tiny, slices):
    plain = SlicePropagator(tiny)
    wide = SlicePropagator(tiny, zoom_margin=10)
    assert torch.equal(wide.logits(slices, 2, BOXES), plain.logits(slices, 2, BOXES))
    assert torch.equal(wide.mask(slices, 2, BOXES), plain.mask(slices, 2, BOXES))


def test_zoom_is_the_driver_on_the_crop(tiny, slices):
    zoomed = SlicePropagator(tiny, zoom_margin=0.5).logits(slices, 3, BOXES)
    for box, logits in zip(BOXES, zoomed, strict=True):
        crop = crop_around(box, 0.5, 40, 56)
        shifted = np.subtract(box, [crop.x1, crop.y1] * 2)
        alone = SlicePropagator(tiny).logits(slices[:, *crop.pixels], 3, [shifted.tolist()])[0]
        torch.testing.assert_close(logits[:, *crop.pixels], alone, rtol=0, atol=1e-4)
        outside = torch.ones(40, 56, dtype=torch.bool)
        outside[crop.pixels] = False
        assert (logits[:, outside] == -1024).all()


def test_three_channels_are_cropped_alike(tiny, slices):
    propagator = SlicePropagator(tiny, zoom_margin=0.5)
    three = propagator.logits(np.repeat(slices[:, None], 3, 1), 2, BOXES)
    torch.testing.assert_close(three, propagator.logits(slices, 2, BOXES), rtol=0, atol=1e-4)


def test_batches_do_not_change_the_result_of_a_zoom(tiny, slices):
    whole = SlicePropagator(tiny, zoom_margin=0.5).logits(slices, 1, BOXES)
    small = SlicePropagator(tiny, max_batch=2, zoom_margin=0.5).logits(slices, 1, BOXES)
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-4)


def test_no_boxes_one_slice_two_hundred_boxes_with_zoom(tiny, slices):
    propagator = SlicePropagator(tiny, zoom_margin=0.5)
    assert propagator.logits(slices, 2, []).shape == (0, 7, 40, 56)
    assert not propagator.mask(slices, 2, []).any()
    assert propagator.logits(slices[:1], 0, BOXES).shape == (3, 1, 40, 56)
    mask = propagator.mask(slices[:2], 0, np.tile(np.array(BOXES), (67, 1))[:200])
    assert mask.any() and torch.equal(mask, propagator.mask(slices[:2], 0, BOXES))


def test_a_box_reaching_outside_is_clipped_before_its_crop(tiny, slices):
    propagator = SlicePropagator(tiny, zoom_margin=0.5)
    # clipped, centre (5, 8.5), reach 10: rows -2..19, so a side of 21; unclipped the side would be 60
    reaching, clipped = [[-20, 5, 10, 12]], [[0, 5, 10, 12]]
    logits = propagator.logits(slices, 1, reaching)
    assert torch.equal(logits, propagator.logits(slices, 1, clipped))
    assert (logits[..., 21:] == -1024).all() and (logits[..., 20] > -1024).any()


@pytest.mark.parametrize(
    ("key_index", "boxes", "window", "message"),
    [
        (1, [[56, 5, 60, 9]], None, "box 0 is .*, outside the slice of 56 columns and 40 rows"),
        (1, [[5, 5, 5, 20]], None, "box 0 is .*; it needs x1 < x2 and y1 < y2"),
        (1, [[0, 0, float("inf"), 4]], None, "its corners must be finite"),
        (7, BOXES, None, r"key_index is 7, outside 0\.\.6 of the 7 slices"),
        (-1, [], None, r"key_index is -1, outside 0\.\.6 of the 7 slices"),
        (1, BOXES, -1, "window is -1"),
    ],
)
def test_bad_input_is_refused_with_zoom_as_without(tiny, slices, key_index, boxes, window, message):
    for margin in (None, 0.5):
        for call in (SlicePropagator(tiny, zoom_margin=margin).logits, SlicePropagator(tiny, zoom_margin=margin).mask):
            with pytest.raises(ValueError, match=message):
                call(slices, key_index, boxes, window)


def test_the_smallest_box_gets_a_crop_of_some_pixels(tiny, slices):
    logits = SlicePropagator(tiny, zoom_margin=0.0).logits(slices, 2, [[10.2, 10.3, 10.4, 10.5]])
    assert logits[:, :, 10, 10].isfinite().all() and (logits[0].flatten(1) > -1024).sum(1).max() == 1


def test_a_crop_holds_the_points_of_its_box(tiny, slices):
    propagator = SlicePropagator(tiny, zoom_margin=0.0)
    box, inside, outside = [10, 10, 20, 20], [12, 18], [40, 30]
    seen = propagator.logits(slices, 2, [box] * 3, points_xy_px=[[], [inside], [inside, outside]]) > -1024
    # the box; the box; the smallest square around x 10..40 and y 10..30, whose middle row is 20: rows 5..35
    for logits, crop in zip(seen, [(10, 10, 20, 20), (10, 10, 20, 20), (10, 5, 40, 35)], strict=True):
        expected = torch.zeros(40, 56, dtype=torch.bool)
        expected[crop[1] : crop[3], crop[0] : crop[2]] = True
        assert torch.equal(logits.any(0), expected)


def test_points_alone_see_the_whole_slice(tiny, slices):
    points = [[[12, 18], [14, 20]]]
    zoomed = SlicePropagator(tiny, zoom_margin=0.0).logits(slices, 2, [], points_xy_px=points)
    assert torch.equal(zoomed, SlicePropagator(tiny).logits(slices, 2, [], points_xy_px=points))


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf"), "0.5"])
def test_bad_margins(tiny, margin):
    with pytest.raises(ValueError, match=f"zoom_margin is {margin!r}; give a share of the box's longer side"):
        SlicePropagator(tiny, zoom_margin=margin)

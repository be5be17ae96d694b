"""Features of slices: what the model is shown, each slice encoded once, and bad slices."""

import numpy as np
import pytest
import torch
from medvol_r1.medsam2.slice_features import SliceFeatures, preprocess
from medvol_r1.propagation import SlicePropagator
from PIL import Image

SIZE = (40, 56)  # H, W of the small volumes
BOXES = [[5, 6, 30, 28], [20.5, 10, 50, 39], [0, 0, 56, 40]]


def test_preprocess_is_the_official_route(slices):
    pixels = preprocess(slices, 64)
    byte = np.rint(slices[0] * 255).astype(np.uint8)
    rgb = np.array(Image.fromarray(byte).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (rgb / 255 - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(pixels[0], expected, atol=1e-6)
    three = np.repeat(slices[:, None], 3, 1)
    torch.testing.assert_close(preprocess(three, 64), pixels, rtol=0, atol=0)


def test_colours_reach_the_model_red_first():
    red = np.zeros((1, 3, *SIZE), np.float32)
    red[:, 0] = 1
    # (1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225
    expected = torch.tensor([2.248908, -2.035714, -1.804444])[:, None, None].expand(3, 64, 64)
    torch.testing.assert_close(preprocess(red, 64)[0], expected, rtol=0, atol=1e-5)


def test_features_of_a_volume_are_computed_once(tiny, slices, monkeypatch):
    encoded, original = [], tiny.vision_encoder.forward

    def count(pixels, **kwargs):
        encoded.append(len(pixels))
        return original(pixels, **kwargs)

    monkeypatch.setattr(tiny.vision_encoder, "forward", count)
    propagator = SlicePropagator(tiny)
    features = propagator.encode(slices)
    assert sum(encoded) == 0  # nothing before the first use
    first = propagator.logits(features, 3, BOXES, window=1)
    assert sum(encoded) == 3
    propagator.logits(features, 3, BOXES[:1], window=2)
    assert sum(encoded) == 5
    again = propagator.logits(features, 3, BOXES, window=1)
    assert sum(encoded) == 5 and torch.equal(first, again)


def test_the_last_slices_alone_are_remembered(tiny, slices, monkeypatch):
    encoded, original = [], tiny.vision_encoder.forward

    def count(pixels, **kwargs):
        encoded.append(len(pixels))
        return original(pixels, **kwargs)

    monkeypatch.setattr(tiny.vision_encoder, "forward", count)
    features = SliceFeatures(tiny, slices, most_known=2)

    def tokens(*index):
        return features.of(torch.tensor(index), [features.whole] * len(index)).tokens

    with torch.no_grad():
        all_of_them = tokens(0, 1, 2, 3)  # more than are remembered: all the same, all are given
        assert len(all_of_them) == 4 and sum(encoded) == 4
        assert torch.equal(tokens(2, 3), all_of_them[2:]) and sum(encoded) == 4
        torch.testing.assert_close(tokens(0), all_of_them[:1])
        assert sum(encoded) == 5, "slice 0 was forgotten"


def test_whole_slices_are_remembered_and_crops_are_not(tiny, slices, monkeypatch):
    encoded, original = [], tiny.vision_encoder.forward

    def count(pixels, **kwargs):
        encoded.append(len(pixels))
        return original(pixels, **kwargs)

    monkeypatch.setattr(tiny.vision_encoder, "forward", count)

    def encodings(propagator, features, boxes):
        before = sum(encoded)
        propagator.mask(features, 2, boxes)
        return sum(encoded) - before

    boxes = [[5, 6, 17, 16], [30.5, 10, 50, 29], [2, 30, 12, 39]]  # crops of less than the slice
    plain, zoom = SlicePropagator(tiny), SlicePropagator(tiny, zoom_margin=0.5)
    features = plain.encode(slices)
    assert encodings(zoom, features, boxes[:1]) == 7
    assert encodings(zoom, features, boxes) == 3 * 7
    assert encodings(zoom, features, [boxes[0]] * 4) == 7  # boxes with the same crop share its features
    assert encodings(plain, features, boxes) == 7  # none of the crops' features is taken for the slice's
    assert encodings(plain, features, boxes) == 0
    assert encodings(zoom, features, [[0, 0, 56, 40]]) == 0  # this crop is the whole slice


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 5), np.float32), r"shape \(4, 5\)"),
        (np.zeros((4, 2, 5, 5), np.float32), r"shape \(4, 2, 5, 5\)"),
        (np.zeros((0, 5, 5), np.float32), r"shape \(0, 5, 5\)"),
        (np.zeros((4, 5, 5), np.uint8), "slices are uint8"),
        (np.full((4, 5, 5), 255.0), "range over 255..255"),
        (np.full((4, 5, 5), np.nan), "range over nan"),
    ],
)
def test_bad_slices(tiny, bad, message):
    with pytest.raises(ValueError, match=message):
        SlicePropagator(tiny).encode(bad)

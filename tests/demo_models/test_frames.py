import numpy as np
import pytest
import torch
from medvol_r1.demo_models.frames import LabelledVolume, draw_frame, whole_frame

WINDOW = (-160.0, 240.0)


@pytest.fixture(scope="module")
def patient():
    """An ellipse of soft tissue with a bright left and a dark right ball in its upper half, 3 mm pixels."""
    z, y, x = np.ogrid[:20, :64, :64]
    image = np.full((20, 64, 64), -1000, dtype=np.int16)
    image[np.broadcast_to(((y - 32) / 20) ** 2 + ((x - 32) / 28) ** 2 < 1, image.shape)] = 40
    label = np.zeros(image.shape, dtype=np.uint8)
    for value, column, hu in ((3, 44, 140), (2, 20, -60)):
        ball = ((z - 14) / 4) ** 2 + ((y - 32) / 8) ** 2 + ((x - column) / 8) ** 2 < 1
        image[ball], label[ball] = hu, value
    return LabelledVolume(image, label, frozenset({2, 3}), 3.0, "organs")


def test_a_frame_is_the_same_for_the_same_seed_and_another_for_another(patient):
    frames = [draw_frame(patient, 8, 48, WINDOW, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(one.shape == (8, 48, 48) and one.dtype == np.uint8 for one in frames[0])
    assert np.array_equal(frames[0][0], frames[1][0])
    assert np.array_equal(frames[0][1], frames[1][1])
    assert not np.array_equal(frames[0][0], frames[2][0])


def test_labels_follow_the_image_and_sides_stay(patient):
    seen = 0
    for seed in range(30):
        grey, label = draw_frame(patient, 8, 48, WINDOW, np.random.default_rng(seed))
        if not ((label == 2).sum() > 50 and (label == 3).sum() > 50):
            continue
        seen += 1
        bright, dark = grey[label == 3].mean(), grey[label == 2].mean()
        assert bright > dark + 50  # 140 and -60 HU are 128 grey values apart before contrast and resampling
        assert np.nonzero(label == 3)[2].mean() > np.nonzero(label == 2)[2].mean()  # never mirrored
    assert seen > 10


def test_some_frames_lack_what_lies_outside_their_range(patient):
    labels = [draw_frame(patient, 8, 48, WINDOW, np.random.default_rng(seed))[1] for seed in range(60)]
    present = [bool((label == 3).any()) for label in labels]
    assert 0 < present.count(False) < 30


def test_the_whole_frame_is_a_square_around_the_body(patient):
    slices, label = whole_frame(patient, 5, 48, WINDOW)
    assert slices.shape == label.shape == (5, 48, 48)
    # 40 HU is (40 + 160) / 400 of the window.
    assert slices[0, 24, 24].item() == pytest.approx(0.5, abs=1e-3)
    # The ellipse is 56 x 40 pixels of 3 mm; with 8 mm around its square is about 61 pixels, and 48 show them.
    columns = (slices[0] > 0.25).any(dim=0).sum().item()
    rows = (slices[0] > 0.25).any(dim=1).sum().item()
    assert 40 <= columns <= 46
    assert rows == pytest.approx(columns * 40 / 56, abs=3)
    assert set(torch.unique(label).tolist()) == {0, 2, 3}

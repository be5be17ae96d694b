"""Random label volumes and their pictures."""

import numpy as np
import torch
from medvol_r1.propagator_training.random_shapes import FIRST_SHAPE, MAX_LABELS, RandomShapes, render


def volume(seed, shape=(16, 64, 64)):
    return RandomShapes(np.random.default_rng(seed), shape).volume()


def test_volume_is_a_function_of_the_seed():
    assert np.array_equal(volume(1), volume(1)) and not np.array_equal(volume(1), volume(2))


def test_volumes_hold_several_shapes_that_begin_and_end():
    shapes = RandomShapes(np.random.default_rng(0), (20, 80, 80))
    ends = 0
    for _ in range(6):
        labels = shapes.volume()
        assert labels.dtype == np.uint8 and labels.shape == (20, 80, 80) and labels.max() < MAX_LABELS
        names = np.unique(labels[labels >= FIRST_SHAPE])
        assert len(names) >= 4
        for name in names:
            occupied = (labels == name).any((1, 2))
            ends += not (occupied[0] and occupied[-1])
    assert ends > 12  # shapes that are on every slice would teach that an object never ends


def test_picture_is_bytes_in_0_1_and_a_function_of_the_generator():
    labels = torch.from_numpy(np.stack([volume(3), volume(4)]))
    picture = render(labels, torch.Generator().manual_seed(5))
    assert picture.shape == labels.shape and picture.min() >= 0 and picture.max() <= 1
    torch.testing.assert_close(picture * 255, (picture * 255).round(), rtol=0, atol=1e-4)
    assert torch.equal(picture, render(labels, torch.Generator().manual_seed(5)))
    assert not torch.equal(picture, render(labels, torch.Generator().manual_seed(6)))


def test_picture_shows_the_labels():
    """Between labels the intensities differ more than within them, for most pictures."""
    labels = torch.from_numpy(volume(7))[None]
    explained = []
    for seed in range(8):
        picture = render(labels, torch.Generator().manual_seed(seed))
        means = torch.stack([picture[labels == name].mean() for name in labels.unique()])
        order = torch.searchsorted(labels.unique(), labels.flatten())
        explained.append(1 - float((picture.flatten() - means[order]).var() / picture.var()))
    assert np.median(explained) > 0.7

"""Volumes of random shapes, to cut clips from."""

import numpy as np
import pytest
import torch
from medvol_r1.propagator_training.clips import LabelledVolumes
from medvol_r1.propagator_training.random_shapes import FIRST_SHAPE, RandomShapes


@pytest.fixture(scope="package")
def pool():
    shapes = RandomShapes(np.random.default_rng(0), (8, 48, 48))
    return LabelledVolumes(torch.from_numpy(np.stack([shapes.volume() for _ in range(3)])), None, FIRST_SHAPE)

"""A tiny network and a small volume."""

import numpy as np
import pytest
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2


@pytest.fixture(scope="module")
def tiny():
    return build_tiny_medsam2(image_size=64, seed=3).eval()


@pytest.fixture(scope="module")
def slices():
    """[S, H, W]."""
    return np.random.default_rng(0).random((7, 40, 56), dtype=np.float32)

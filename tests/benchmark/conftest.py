"""A label map as another system stores one."""

import numpy as np
import pytest
from stored_labels import SHAPE


@pytest.fixture
def label():
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.float32)

"""What the tests of the experts share."""

import numpy as np
import pytest
from tiny_sams import HEIGHT, WIDTH, save_sam, save_sam2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    return {"sam": save_sam(folder / "sam"), "sam2": save_sam2(folder / "sam2")}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((1, 3, HEIGHT, WIDTH), dtype=np.float32)

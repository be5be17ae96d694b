"""A random model of a few weights, and an archive of patients."""

import numpy as np
import pytest
from medvol_r1.demo_models.patient_archive import LOWEST_HU, STEP_HU
from tiny_models import save_random_lvlm


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm")))


@pytest.fixture(scope="package")
def archive(tmp_path_factory):
    """Seven patients, the sixth for development: a body with a mandible; only the first has a brainstem."""
    arrays = {}
    for number in range(7):
        image = np.zeros((12, 40, 40), dtype=np.uint8)
        image[:, 6:34, 6:34] = (40 - LOWEST_HU) // STEP_HU
        label = np.zeros_like(image)
        label[4:9, 10:16, 12:28] = 19
        if number == 0:
            label[9:11, 20:26, 16:24] = 13
        arrays |= {f"pt{number}_image": image, f"pt{number}_label": label, f"pt{number}_pixel_mm": np.array(4.0)}
    path = tmp_path_factory.mktemp("archive") / "patients.npz"
    np.savez_compressed(path, **arrays)
    return path

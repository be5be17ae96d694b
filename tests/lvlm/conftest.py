"""A random language model, and slices."""

import pytest
import torch
from tiny_models import save_random_lvlm


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=3.0))


@pytest.fixture
def slices():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))

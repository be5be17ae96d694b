"""A random language model."""

import pytest
from tiny_models import save_random_lvlm


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm")))

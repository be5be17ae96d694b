"""A random language model, and training runs that start from it."""

import os
from pathlib import Path

import pytest
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from tiny_models import save_random_lvlm
from training_runs import TrainingRuns


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm")))


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """Runs training configs in processes of their own."""
    weights = tmp_path_factory.mktemp("weights")
    save_random_lvlm(weights / "lvlm")
    build_tiny_medsam2().save_pretrained(weights / "medsam2")
    with pytest.MonkeyPatch.context() as patch:  # for the server
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        yield TrainingRuns(weights)

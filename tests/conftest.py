"""Settings and fixtures of the whole suite."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from golden_medsam2 import write_official_checkpoint
from hypothesis import settings

# A loaded machine is not a wrong result.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_configure(config):
    if find_spec("monailabel"):  # its environment has a torchvision, which transformers imports too
        import_module("monailabel_command")
    # The tensors of the tests are small: more threads cost more than they give; the workers of `-n` share the cores.
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    if threads == 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture
def bundle_on_path(monkeypatch):
    """Configs find the folder `scripts` as they do in a bundle's run; and `sys.path` is as before afterwards."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[1] / "bundle"), *sys.path])


@pytest.fixture(scope="session")
def official_checkpoint(tmp_path_factory) -> Path:
    """MedSAM2's weights in the official form, see `golden_medsam2`."""
    return write_official_checkpoint(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="session")
def real_ct_folder() -> Path:
    """The folder of real CT; mark the tests that use it `real_ct`. MEDVOL_REAL_CT names it."""
    folder = Path(os.environ.get("MEDVOL_REAL_CT", Path(__file__).resolve().parents[2] / "shared" / "real_ct"))
    if not folder.is_dir():
        pytest.skip(f"no real CT at {folder}; set MEDVOL_REAL_CT to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def real_ct_path(real_ct_folder: Path) -> Path:
    """A real CT of that folder."""
    path = real_ct_folder / "totalsegmentator_example_ct" / "example_ct.nii.gz"
    if not path.is_file():
        pytest.skip(f"no real CT at {path}; set MEDVOL_REAL_CT to the folder that holds it")
    return path

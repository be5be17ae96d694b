"""MONAI's own ways into the bundle, from a folder that is not the bundle's; and its experiment tracking."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import BUNDLE
from inference_stubs import STUBS
from medvol_r1.datasets.demo_cases import write_demo_cases
from monai.bundle import create_workflow, load, run
from tiny_models import save_random_lvlm

INFERENCE = BUNDLE / "configs" / "inference.json"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder that knows nothing of the bundle: nothing of `scripts` is imported, or can be yet.

    What a test imports is forgotten behind it: a `scripts` found from inside the bundle has a relative path.
    """
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() != BUNDLE])
    for name in _imported():
        monkeypatch.delitem(sys.modules, name)
    sys.path_importer_cache.pop(".", None)  # which folder "." was in the test before
    yield folder
    for name in _imported():
        del sys.modules[name]
    sys.path_importer_cache.pop(".", None)


def _imported():
    return [name for name in sys.modules if name.split(".")[0] == "scripts"]


@pytest.fixture
def settings(tmp_path):
    """Of a run with stand-ins for the models."""
    cases = str(write_demo_cases(tmp_path / "demo"))
    fixed = {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), "datalist": cases, "picture": False}
    return {"device": "cpu", **fixed, **STUBS}


def answered(folder):
    return sorted(path.name for path in (folder / "out").glob("*/*_mask.nii.gz"))


def test_run_needs_the_bundles_root_and_nothing_else(settings, tmp_path):
    run(config_file=str(INFERENCE), workflow_type="infer", **settings)
    assert answered(tmp_path) == ["phantom_kidneys_mask.nii.gz", "phantom_liver_mask.nii.gz"]


def test_create_workflow_initialises_and_runs(settings, tmp_path):
    workflow = create_workflow(config_file=str(INFERENCE), workflow_type="infer", **settings)
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    assert len(answered(tmp_path)) == 2


def test_load_gives_the_network_with_the_weights_that_are_named(tmp_path, monkeypatch):
    """`load` takes no `bundle_root`: its path and that of `scripts` are given, or one stands in the bundle."""
    lvlm = str(save_random_lvlm(tmp_path / "lvlm"))
    monkeypatch.syspath_prepend(str(BUNDLE))
    override = {"path": lvlm, "slice_size": 32, "max_new_tokens": 4}
    network = load(
        BUNDLE.name, bundle_dir=str(BUNDLE.parent), workflow_type="inference", device="cpu", net_override=override
    )
    assert network(torch.rand(1, 1, 3, 32, 32)).shape == (1, 1, 3, 32, 32)


def test_load_from_inside_the_bundle_needs_no_paths(monkeypatch):
    monkeypatch.chdir(BUNDLE)
    network = load(BUNDLE.name, bundle_dir=str(BUNDLE.parent), workflow_type="inference", device="cpu")
    assert Path(network.path).resolve() == BUNDLE / "models" / "lvlm"


def test_tracking_of_a_training_lands_in_a_local_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    small = {"num_slices": 3, "slice_size": 32, "patch_size": 8, "queries_per_volume": 1, "subsets": ["organs"]}
    small |= {"max_steps": 3, "validate_every": 2, "validation_volumes": 1, "batch_size": 1}
    small |= {"network_def#max_new_tokens": 4, "device": "cpu"}
    out = {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out")}
    run(config_file=str(BUNDLE / "configs" / "train.json"), workflow_type="train", tracking="mlflow", **out, **small)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'mlruns.db'}")
    (tracked,) = client.search_runs([client.get_experiment_by_name("monai_experiment").experiment_id])
    assert tracked.info.status == "FINISHED"
    losses = [metric.value for metric in client.get_metric_history(tracked.info.run_id, "train_loss")]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert tracked.data.metrics.keys() >= {"lr_group_0", "R_a", "box_iou"}
    (config,) = (tmp_path / "out").glob("config_*.json")
    assert json.loads(config.read_text())["max_steps"] == 3

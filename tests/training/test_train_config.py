"""train.json run end to end on phantoms: logs, checkpoints, resuming, and what it saves."""

from pathlib import Path

import pytest
import torch
from medvol_r1.datasets.demo_cases import write_demo_cases
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.lvlm.model import VolumeLVLM
from monai.bundle import ConfigWorkflow
from monai.bundle import run as run_bundle
from safetensors.torch import load_file
from tiny_models import save_random_lvlm

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
CONFIG = BUNDLE / "configs" / "train.json"
SMALL = {
    "num_slices": 6,
    "slice_size": 48,
    "queries_per_volume": 2,
    "validate_every": 1,
    "validation_volumes": 1,
    "batch_size": 1,
    "patch_size": 12,
    "subsets": ["organs"],
    "network_def#max_new_tokens": 4,
}


pytestmark = pytest.mark.usefixtures("bundle_on_path")


def train(folder, max_steps, **changes):
    workflow = ConfigWorkflow(
        str(CONFIG),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        output_dir=str(folder),
        max_steps=max_steps,
        **(SMALL | changes),
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    workflow.run()
    return trainer.state


def test_it_trains_logs_saves_and_resumes(tmp_path):
    state = train(tmp_path, max_steps=2)
    assert state.iteration == 2
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["checkpoint.pt"]
    trained = VolumeLVLM(str(tmp_path / "lvlm"), slice_size=48).load()
    start = VolumeLVLM(str(tmp_path / "tiny_lvlm"), slice_size=48).load()
    changed = [
        not torch.equal(weight, start.get_parameter(name))
        for name, weight in trained.named_parameters()
        if "deepstack" not in name
    ]
    assert all(changed)
    # the same command goes on where the run stopped
    resumed = train(tmp_path, max_steps=3)
    assert resumed.iteration == 3
    checkpoint = torch.load(tmp_path / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert checkpoint["lr_scheduler"]["last_epoch"] == 3
    assert set(checkpoint) == {"trainer", "network", "optimizer", "lr_scheduler", "random"}


def test_a_rate_beyond_all_numbers_stops_the_run_and_keeps_good_weights(tmp_path):
    options = {"max_steps": 4, "checkpoint_every": 1, "lvlm_path": str(save_random_lvlm(tmp_path / "start"))}
    rates = {"learning_rate": 1e30, "vision_learning_rate": 1e30}
    with pytest.raises(RuntimeError) as failed:  # MONAI names the expression, its cause the reason
        train(tmp_path, **options, **rates)
    assert "Step 2: the gradient is non-finite" in str(failed.value.__cause__)
    assert not (tmp_path / "lvlm").exists()
    saved = torch.load(tmp_path / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert saved["trainer"]["iteration"] == 1
    assert all(weight.isfinite().all() for weight in saved["network"].values())


def test_lora_saves_an_adapter_alone(tmp_path):
    train(tmp_path, max_steps=1, lora_rank=2)
    assert (tmp_path / "lvlm" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "lvlm" / "model.safetensors").exists()
    VolumeLVLM(str(tmp_path / "tiny_lvlm"), adapter=str(tmp_path / "lvlm")).load()


def test_the_4b_overlay_prints_a_plan_and_trains_nothing(tmp_path, capsys):
    overlay = BUNDLE / "configs" / "qwen3vl_4b.json"
    run_bundle(
        config_file=[str(CONFIG), str(overlay)],
        bundle_root=str(BUNDLE),
        output_dir=str(tmp_path / "out"),
        logging_file=False,
        max_steps=20,
    )
    printed = capsys.readouterr().out
    assert "4,702.1 M" in printed and "264.2 M (5.62%)" in printed and "Nothing was trained" in printed
    assert not (tmp_path / "out").exists()


def test_listed_volumes_take_the_place_of_phantoms(tmp_path, monkeypatch):
    """A list on the command line is all that it takes; slices are kept once for all passes."""
    monkeypatch.setattr(PhantomVolumes, "__getitem__", None)
    datalist = str(write_demo_cases(tmp_path / "cases"))
    lists = {"train_datalist": datalist, "validation_datalist": datalist}
    state = train(tmp_path / "out", max_steps=2, num_workers=1, **lists)
    assert state.iteration == 2
    (kept,) = (tmp_path / "out" / "slice_cache").iterdir()
    assert load_file(kept)["image"].shape == (6, 48, 48)


def test_the_4b_overlay_trains_an_adapter_on_listed_volumes_when_told_to(tmp_path):
    datalist = str(write_demo_cases(tmp_path / "cases"))
    save_random_lvlm(tmp_path / "lvlm")
    run_bundle(
        config_file=[str(CONFIG), str(BUNDLE / "configs" / "qwen3vl_4b.json")],
        init_id="setup",
        run_id="training",
        bundle_root=str(BUNDLE),
        logging_file=False,
        lvlm_path=str(tmp_path / "lvlm"),
        train_datalist=datalist,
        validation_datalist=datalist,
        output_dir=str(tmp_path / "out"),
        num_slices=4,
        slice_size=32,
        lora_rank=2,
        num_epochs=3,
        batch_size=1,
        validate_every=2,
        **{"network_def#max_new_tokens": 4},
    )
    assert (tmp_path / "out" / "lvlm" / "adapter_model.safetensors").is_file()
    checkpoint = torch.load(tmp_path / "out" / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert checkpoint["trainer"]["iteration"] == 3  # three epochs of one volume, though validations do not divide it

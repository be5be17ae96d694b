"""The overlays of a Qwen2.5-VL, run end to end with a tiny random one: a plan, both stages, an answer."""

import json
from pathlib import Path

import pytest
from medvol_r1.datasets.write_umrg import write_images
from medvol_r1.lvlm.model import VolumeLVLM
from monai.bundle import run as run_bundle
from tiny_models import save_random_models, save_random_qwen2_5

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
ON_TOP = ["umrg/lingshu_7b.json"]

pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    images = {split: write_images(folder, split, count, size=56) for split, count in (("train", 4), ("test", 1))}
    return {
        **save_random_models(folder),
        "lvlm_path": str(save_random_qwen2_5(folder / "qwen2.5")),
        "train_datalist": images["train"],
        "validation_datalist": images["test"],
        "device": "cpu",
        "slice_size": 56,
        "lora_rank": 2,
        "max_new_tokens": 4,
        "num_epochs": 1,
        "num_workers": 0,
    }


def run(names, folder, **settings):
    run_bundle(
        config_file=[str(BUNDLE / "configs" / name) for name in names],
        bundle_root=str(BUNDLE),
        logging_file=False,
        output_dir=str(folder),
        **settings,
    )


STAGES = {
    "train": (["train.json", "umrg/train.json", *ON_TOP], {"batch_size": 2, "network_def#max_new_tokens": 4}),
    "train_grpo": (
        ["train_grpo.json", "umrg/train_grpo.json", *ON_TOP, "umrg/lingshu_7b_grpo.json"],
        {"batch_size": 2, "num_generations": 2},
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_prints_its_plan_and_trains_an_adapter_when_told_to(stage, small, tmp_path, capsys):
    names, settings = STAGES[stage]
    run(names, tmp_path / "plan")
    printed = capsys.readouterr().out
    # Qwen2.5-VL-7B as published has 8.29 B parameters. LoRA of rank 128: hidden 3584, k and v 512, MLP 18944, so q and
    # o have 7168 each, k and v 4096, gate, up and down 22528: 90112 * 128 = 11.53 M a layer, 28 layers.
    assert "8,615.1 M" in printed and "323.0 M (3.75%)" in printed and "Nothing was trained" in printed
    assert not (tmp_path / "plan").exists()
    run(names, tmp_path, init_id="setup", run_id="training", **(small | settings))
    assert (tmp_path / "lvlm" / "adapter_model.safetensors").is_file()
    VolumeLVLM(small["lvlm_path"], adapter=str(tmp_path / "lvlm")).load()


def test_an_image_is_answered(small, tmp_path):
    image = Path(small["validation_datalist"]).with_name("test_0.png")
    (tmp_path / "cases.json").write_text(json.dumps([{"image": str(image), "query": "the liver"}]))
    settings = {key: small[key] for key in ("lvlm_path", "medsam2_path", "device", "slice_size", "max_new_tokens")}
    settings |= {"datalist": str(tmp_path / "cases.json"), "lvlm_slice_size": 28, "picture": False}
    run(["inference.json", "umrg/inference.json", *ON_TOP], tmp_path, **settings)
    record = json.loads((tmp_path / "test_0" / "test_0_evidence.json").read_text())
    assert record["slices_shown"] == 1 and record["completion"]

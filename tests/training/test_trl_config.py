"""train_grpo_trl.json run end to end on phantoms with tiny models: one process, two, on top of SFT, on bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import training_workflow
from medvol_r1.anchor import format_completion
from medvol_r1.datasets.demo_cases import write_demo_cases
from medvol_r1.datasets.write_umrg import write_images
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.umrg.marks import true_anchor
from monai.bundle import ConfigWorkflow
from safetensors.torch import load_file
from tiny_models import save_random_lvlm, save_random_models

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundle"
CONFIG = BUNDLE / "configs" / "train_grpo_trl.json"
PAPER = [CONFIG, BUNDLE / "configs" / "qwen3vl_4b.json", BUNDLE / "configs" / "qwen3vl_4b_trl.json"]
SMALL = {
    "num_slices": 3,
    "slice_size": 32,
    "subsets": ["organs"],
    "num_generations": 2,
    "batch_size": 2,
    "max_new_tokens": 6,
    "validation_volumes": 1,
    "lora_rank": 2,
}


pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return save_random_models(folder, channel_ranges=[[0.0, 1.0], [0.3, 0.7], [0.5, 0.6]])


def workflow_of(stack, folder, **changes):
    return training_workflow(stack, folder, **(SMALL | changes))


def toy_reward(tmp_path):
    """An overlay with a reward that a random model earns, so that something is learned."""
    overlay = tmp_path / "toy.json"
    overlay.write_text(json.dumps({"reward": {"_target_": "toy_rewards.VowelReward"}}))
    return overlay


def test_four_steps_on_an_adapter_of_sft_and_the_adapter_is_one_for_inference(weights, tmp_path):
    sft = VolumeLVLM(weights["lvlm_path"]).add_lora(rank=2)
    with torch.no_grad():
        for name, weight in sft.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    sft.save(tmp_path / "sft")
    given = weights | {
        "lvlm_adapter": str(tmp_path / "sft"),
        "max_steps": 4,
        "validate_every": 2,
        "learning_rate": 0.01,
    }
    workflow = workflow_of([CONFIG, toy_reward(tmp_path)], tmp_path / "out", **given)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    base = VolumeLVLM(weights["lvlm_path"], adapter=str(tmp_path / "sft")).load().state_dict()
    for name, weight in trainer.model.get_base_model().state_dict().items():
        if "lora_" not in name:
            torch.testing.assert_close(weight, base["qwen." + name.replace(".base_layer", "")], rtol=0, atol=0)
    workflow.run()
    assert trainer.state.global_step == 4
    seen = set().union(*trainer.state.log_history)
    assert {"loss", "kl", "rewards/VowelReward/mean", "eval_rewards/VowelReward/mean"} <= seen
    saved = load_file(tmp_path / "out" / "lvlm" / "adapter_model.safetensors")
    assert any(weight.any() for name, weight in saved.items() if "lora_B" in name)
    assert not any("visual" in name for name in saved)
    # As `--lvlm_adapter "['SFT','GRPO']"` of inference.json reads it: the policy, merged.
    slices = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    slices = (slices * 255).round() / 255
    merged = VolumeLVLM(weights["lvlm_path"], adapter=[str(tmp_path / "sft"), str(tmp_path / "out" / "lvlm")]).load()
    below = VolumeLVLM(weights["lvlm_path"], adapter=str(tmp_path / "sft")).load()
    ids = [[torch.tensor(merged.prompts.completion_ids("the liver"))]]
    after, before = (one.log_probs(one.encode(slices), ["the liver"], ids)[0][0] for one in (merged, below))
    assert (after - before).abs().max() > 1e-3


def test_the_rewards_are_those_of_the_paper_and_the_command_resumes(weights, tmp_path):
    given = weights | {"weight_spatial": 2.0, "checkpoint_every": 1}
    first = workflow_of([CONFIG], tmp_path, max_steps=1, **given)
    trainer = first.parser.get_parsed_content("train#trainer")
    names = ["FormatReward", "AxialReward", "SpatialReward", "ConsistencyReward"]
    assert trainer.reward_func_names == names and trainer.reward_weights.tolist() == [1.0, 1.0, 2.0, 1.0]
    first.run()
    longer = workflow_of([CONFIG], tmp_path, max_steps=2, **given)
    longer.run()
    log = longer.parser.get_parsed_content("train#trainer").state.log_history
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2]
    assert [folder.name for folder in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_papers_settings_on_listed_volumes(weights, tmp_path):
    datalist = str(write_demo_cases(tmp_path / "cases"))
    given = {"num_slices": 3, "slice_size": 32, "max_new_tokens": 6, "lora_rank": 2, "dtype": "float32"}
    given |= weights | {"train_datalist": datalist, "validation_datalist": datalist}
    workflow = ConfigWorkflow(
        [str(file) for file in PAPER],
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        **given,
    )
    workflow.initialize()
    settings = workflow.parser.get_parsed_content("train#arguments")
    paper = {
        "num_generations": 4, "beta": 0.01, "learning_rate": 2e-6, "num_train_epochs": 3, "epsilon": 0.2,
        "warmup_steps": 0.1, "temperature": 1.0, "loss_type": "grpo", "scale_rewards": "group",
        "reward_weights": [1.0] * 4, "use_bias_correction_kl": False, "gradient_accumulation_steps": 4,
        "per_device_train_batch_size": 1,
    }  # fmt: skip
    assert {name: getattr(settings, name) for name in paper} == paper
    config = ConfigWorkflow([str(file) for file in PAPER], logging_file=False, bundle_root=str(BUNDLE)).parser.config
    told = {"max_new_tokens": 256, "lora_rank": 128, "num_slices": 64, "slice_size": 256, "queries_per_volume": 1}
    assert {key: config[key] for key in told} == told


def test_single_images_and_their_rewards(weights, tmp_path):
    """The overlay of single images goes on this config as on train_grpo.json; each reward is logged by its own name."""
    images = {split: write_images(tmp_path, split, 2, size=32) for split in ("train", "test")}
    lvlm = save_random_lvlm(tmp_path / "lvlm")  # sees colours
    given = weights | {"lvlm_path": str(lvlm), "train_datalist": images["train"], "validation_datalist": images["test"]}
    given |= {"max_steps": 1, "num_slices": 1, "reward_set": "hard", "max_new_tokens": 6}
    workflow = workflow_of([CONFIG, BUNDLE / "configs" / "umrg" / "train_grpo.json"], tmp_path / "out", **given)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    reward = workflow.parser.get_parsed_content("reward")
    assert trainer.reward_weights.tolist() == list(reward.weights.values()) and len(reward.weights) == 9
    assert trainer.reward_func_names == list(reward.terms) and reward.terms["box_iou"] is trainer.reward_funcs[1]
    asked = trainer.train_dataset[0]["prompt"][0]["content"]
    assert "points_1" in asked[0]["text"] and [part["type"] for part in asked].count("image") == 1
    # What TRL calls: an object's own marks earn the most in each term of the set.
    mask = np.zeros((1, 32, 32), dtype=bool)
    mask[0, 8:24, 8:24] = True
    answer = format_completion(true_anchor({}, mask), "Seen.", "image")
    completion = [{"role": "assistant", "content": answer}]
    earned = [one(completions=[completion], masks=[mask])[0] for one in trainer.reward_funcs[:7]]
    assert earned == pytest.approx([1.0] * 7)
    workflow.run()
    assert "rewards/box_iou/mean" in set().union(*trainer.state.log_history)


@pytest.mark.slow
def test_two_processes_under_accelerate(weights, tmp_path):
    options = [f"--{key}={value}" for key, value in (SMALL | weights).items()]
    # Without --cpu, with which accelerate wants MPI; what is not there is not used.
    command = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "-m", "monai.bundle", "run"]
    files = f"['{CONFIG}','{toy_reward(tmp_path)}']"
    done = subprocess.run(
        [sys.executable, "-m", *command, "--config_file", files, "--bundle_root", str(BUNDLE), "--max_steps=2",
         "--learning_rate=0.01", "--output_dir", str(tmp_path / "out"), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert {file.name for file in (tmp_path / "out" / "checkpoint-2").glob("rng_state*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }, "one for each process"
    saved = load_file(tmp_path / "out" / "lvlm" / "adapter_model.safetensors")
    assert any(weight.any() for name, weight in saved.items() if "lora_B" in name)


@pytest.mark.parametrize(
    "entries, told",
    [([], "holds an empty list"), ([{"image": "ct.nii.gz", "label": "ct.nii.gz"}], "query")],
)
def test_a_datalist_that_cannot_be_used(weights, tmp_path, entries, told):
    (tmp_path / "list.json").write_text(json.dumps(entries))
    datalist = str(tmp_path / "list.json")
    given = weights | {"train_datalist": datalist, "validation_datalist": datalist}
    with pytest.raises(RuntimeError) as failed:
        workflow_of(PAPER, tmp_path / "out", **given)
    assert told in str(innermost(failed.value))


def test_several_queries_a_volume_are_refused_before_anything_is_sampled(weights, tmp_path):
    workflow = workflow_of([CONFIG], tmp_path, max_steps=1, **(weights | {"queries_per_volume": 2}))
    with pytest.raises(RuntimeError) as failed:
        workflow.run()
    assert "set the config key `queries_per_volume` to 1" in str(innermost(failed.value))


def innermost(error):
    """What our code said, below MONAI's wrapping."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error

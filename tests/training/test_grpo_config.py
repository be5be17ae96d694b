"""train_grpo.json run end to end on phantoms with tiny models; its overlays: the paper's scale and the ablations."""

import json
from pathlib import Path

import pytest
import torch
from config_runs import training_workflow
from medvol_r1.datasets.demo_cases import write_demo_cases
from medvol_r1.lvlm.model import VolumeLVLM
from monai.bundle import ConfigWorkflow
from monai.bundle import run as run_bundle
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_models import save_random_models

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
CONFIG = BUNDLE / "configs" / "train_grpo.json"
PAPER = [CONFIG, BUNDLE / "configs" / "qwen3vl_4b.json", BUNDLE / "configs" / "qwen3vl_4b_grpo.json"]
ABLATIONS = sorted((BUNDLE / "configs" / "ablations").glob("*.json"))
SMALL = {
    "num_slices": 4,
    "slice_size": 32,
    "queries_per_volume": 2,
    "num_generations": 2,
    "max_new_tokens": 6,
    "validate_every": 1,
    "validation_volumes": 1,
    "batch_size": 1,
    "subsets": ["organs"],
}


pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_random_models(tmp_path_factory.mktemp("weights"))


def workflow_of(stack, folder, **changes):
    return training_workflow(stack, folder, **(SMALL | changes))


def test_it_trains_logs_saves_and_goes_on(weights, tmp_path):
    workflow = workflow_of([CONFIG], tmp_path, max_steps=2, **weights)
    workflow.run()
    state = workflow.parser.get_parsed_content("train#trainer").state
    assert state.iteration == 2
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["checkpoint.pt"]
    VolumeLVLM(str(tmp_path / "lvlm")).load()
    events = [EventAccumulator(str(file)).Reload() for file in (tmp_path / "tensorboard").iterdir()]
    scalars = {tag for log in events for tag in log.Tags()["scalars"]}
    assert {"reward/R_f", "reward/R_a", "reward/R_s", "reward/R_c", "reward/total", "policy/kl", "loss"} <= scalars
    assert {"R_a", "box_iou", "format_rate"} <= scalars  # of the validation
    assert any(log.Tags()["images"] for log in events)
    # A longer run of the same command goes on, to its own end.
    longer = workflow_of([CONFIG], tmp_path, max_steps=5, **(weights | {"validate_every": 3}))
    longer.run()
    assert longer.parser.get_parsed_content("train#trainer").state.iteration == 5
    assert longer.parser.get_parsed_content("validate#evaluator").state.epoch == 5  # the last step is validated
    checkpoint = torch.load(tmp_path / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert checkpoint["trainer"]["iteration"] == checkpoint["lr_scheduler"]["last_epoch"] == 5


def test_any_function_of_trl_s_contract_is_a_reward(weights, tmp_path):
    plain = {"_target_": "toy_rewards.prompt_words", "_mode_": "callable"}
    workflow = workflow_of([CONFIG], tmp_path, max_steps=1, reward=plain, **weights)
    workflow.run()
    scalars = [EventAccumulator(str(file)).Reload() for file in (tmp_path / "tensorboard").iterdir()]
    tags = {tag: log for log in scalars for tag in log.Tags()["scalars"]}
    assert {tag for tag in tags if tag.startswith("reward/")} == {"reward/total"}  # it says no terms
    (total,) = tags["reward/total"].Scalars("reward/total")
    item = workflow.parser.get_parsed_content("train#dataset")[0]
    assert total.value == pytest.approx(sum(len(text.split()) for text in item.texts) / len(item.texts))


def test_an_average_of_the_weights_is_validated_saved_and_goes_on(weights, tmp_path):
    vowels = {"reward#terms#vowels": {"_target_": "toy_rewards.VowelReward"}, "reward#weights#vowels": 1.0}
    half = {"ema_momentum": 0.5, "learning_rate": 0.01, "warmup_ratio": 0.0, "num_generations": 4, **vowels, **weights}
    average = VolumeLVLM(weights["lvlm_path"]).load().state_dict()
    for steps in (1, 2):  # the second run goes on from the first one's average, not from its weights
        stack = [CONFIG, BUNDLE / "configs" / "averaged_weights.json"]
        workflow = workflow_of(stack, tmp_path, max_steps=steps, **half)
        workflow.run()
        trained = workflow.parser.get_parsed_content("network").state_dict()
        saved = VolumeLVLM(str(tmp_path / "lvlm")).load().state_dict()
        moved = 0.0
        for name, weight in saved.items():
            expected = (average[name] + trained[name]) / 2
            assert torch.allclose(weight.float(), expected.float(), atol=1e-6), name
            moved = max(moved, (trained[name] - expected).abs().max().item())
        assert moved > 1e-3
        validated = workflow.parser.get_parsed_content("validate#evaluator").network.state_dict()
        assert all(torch.equal(validated[name], weight) for name, weight in saved.items())
        average = saved


def test_several_processes_are_refused_before_anything_is_written(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError) as failed:
        workflow_of([CONFIG], tmp_path / "out", max_steps=1, **weights)
    assert "WORLD_SIZE is 2" in str(failed.value.__cause__)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_runs_and_changes_what_it_says(path, weights, tmp_path):
    given = weights if path.stem != "rl_without_sft" else {"medsam2_path": weights["medsam2_path"], "slice_size": 48}
    workflow = workflow_of([CONFIG, path], tmp_path, max_steps=1, **given)
    workflow.run()
    reward = workflow.parser.get_parsed_content("reward")
    on = {name for name, weight in reward.weights.items() if weight == 1}
    kind, _, which = path.stem.rpartition("_")
    if kind == "no":
        assert on == {"R_f", "R_a", "R_s", "R_c"} - {f"R_{which[1]}"}
    else:
        assert on == {"R_f", "R_a", "R_s", "R_c"}
    if kind == "delta":
        assert reward.terms["R_c"].delta == int(which)
    if path.stem == "rl_without_sft":
        # Nothing parses, so no group has a better and a worse answer, and nothing is learned.
        start = VolumeLVLM(str(tmp_path / "untrained_lvlm")).load().state_dict()
        end = VolumeLVLM(str(tmp_path / "lvlm")).load().state_dict()
        (rollouts,) = workflow.parser.get_parsed_content("train#trainer").state.output[0]["rollouts"]
        assert set(rollouts.record.totals) == {0.0}
        assert all(torch.equal(weight, end[name]) for name, weight in start.items())


def test_there_is_an_ablation_for_each_row():
    rows = {"no_rf", "no_ra", "no_rs", "no_rc", "rl_without_sft", "delta_2", "delta_5", "delta_10", "delta_15"}
    assert {path.stem for path in ABLATIONS} == rows


def test_the_papers_settings(weights):
    config = ConfigWorkflow([str(file) for file in PAPER], logging_file=False, bundle_root=str(BUNDLE)).parser.config
    paper = {
        "num_generations": 4, "kl_coefficient": 0.01, "learning_rate": 2e-6, "num_epochs": 3, "batch_size": 1,
        "max_new_tokens": 256, "lora_rank": 128, "num_slices": 64, "slice_size": 256, "warmup_ratio": 0.1, "delta": 5,
        "weight_format": 1.0, "weight_axial": 1.0, "weight_spatial": 1.0, "weight_consistency": 1.0,
    }  # fmt: skip
    assert {key: config[key] for key in paper} == paper


def test_the_papers_scale_prints_a_plan_and_trains_nothing(tmp_path, capsys):
    run_bundle(
        config_file=[str(file) for file in PAPER],
        bundle_root=str(BUNDLE),
        output_dir=str(tmp_path / "out"),
        logging_file=False,
        queries_per_volume=2,
    )
    printed = capsys.readouterr().out
    # 64 slices of 8 x 8 visual tokens and 8 around them, 120 of instruction; 2 queries of 32 with 4 x 256 each
    assert f"{64 * (64 + 8) + 120 + 2 * (32 + 4 * 256):,}" in printed
    assert "264.2 M (5.62%)" in printed and "Nothing was trained" in printed
    assert not (tmp_path / "out").exists()


def test_the_papers_scale_trains_an_adapter_on_that_of_sft_when_told_to(weights, tmp_path):
    datalist = str(write_demo_cases(tmp_path / "cases"))
    sft = VolumeLVLM(weights["lvlm_path"]).add_lora(rank=2)
    sft.save(tmp_path / "sft")
    run_bundle(
        config_file=[str(file) for file in PAPER],
        init_id="setup",
        run_id="training",
        bundle_root=str(BUNDLE),
        logging_file=False,
        **weights,
        lvlm_adapter=str(tmp_path / "sft"),
        train_datalist=datalist,
        validation_datalist=datalist,
        output_dir=str(tmp_path / "out"),
        num_slices=4,
        slice_size=32,
        max_new_tokens=6,
        lora_rank=2,
    )
    adapters = [str(tmp_path / "sft"), str(tmp_path / "out" / "lvlm")]
    VolumeLVLM(weights["lvlm_path"], adapter=adapters).load()


def test_a_policy_of_another_architecture_is_refused(weights, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(RuntimeError) as failed:  # MONAI names the component, its cause the reason
        workflow_of([CONFIG], tmp_path, max_steps=1, **(weights | {"lvlm_path": str(tmp_path / "bert")}))
    assert "is a 'bert' model, need 'qwen3_vl'" in str(failed.value.__cause__)


def test_a_single_completion_a_query_is_refused(weights, tmp_path):
    with pytest.raises(RuntimeError) as failed:
        workflow_of([CONFIG], tmp_path, max_steps=1, **(weights | {"num_generations": 1}))
    assert "num_generations is 1; a completion is compared with the others" in str(failed.value.__cause__)

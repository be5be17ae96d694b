"""TRL's engine and ours on the same rollouts: the same rewards, losses, gradients and, step after step, weights."""

from dataclasses import replace

import pytest
import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.losses import GRPOLoss
from medvol_r1.lvlm.decoding import Completion
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.prompts import PromptBuilder
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import AxialReward, CompositeReward, ConsistencyReward, FormatReward, SpatialReward
from medvol_r1.training.grpo import GRPOTrainer
from medvol_r1.training.reference_policy import ReferencePolicy
from medvol_r1.training.rollouts import RolloutSampler
from medvol_r1.training.trl_dataset import trl_dataset
from medvol_r1.training.trl_engine import grpo_trainer, load_policy, require_trl
from medvol_r1.training.trl_processor import load_slice_processor
from monai.inferers import SimpleInferer
from tiny_models import save_random_lvlm
from trl import GRPOConfig

STEPS, VOLUMES_A_STEP, SIZE, RANK, LEARNING_RATE, KL = 3, 2, 32, 4, 1.0, 0.5


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=2.0))


@pytest.fixture(scope="module")
def volumes():
    """As 8 bits hold them, which is what TRL's processor sees."""
    phantoms = PhantomVolumes("train", STEPS * VOLUMES_A_STEP, 4, SIZE, subsets=["organs"], queries_per_volume=1)
    return [replace(one, slices=(one.slices * 255).round() / 255) for one in phantoms]


def written(item):
    """Four completions of an item: the right one, one with a box too many, one on another slice, and no answer."""
    right = item.completions[0]
    more = right.replace("]]}", "], [0, 0, 90, 90]]}")
    other = '<think></think><answer>{"key_slice": 1, "bbox_2d_list": [[100, 100, 700, 700]]}</answer>'
    return [right, more, other, f"<think>{item.texts[0]}"]


def rewards():
    propagator = SlicePropagator(build_tiny_medsam2(64, seed=3).eval())
    terms = {
        "R_f": FormatReward(),
        "R_a": AxialReward(),
        "R_s": SpatialReward(),
        "R_c": ConsistencyReward(propagator, delta=1),
    }
    return CompositeReward(terms, weights={"R_f": 1.0, "R_a": 0.5, "R_s": 2.0, "R_c": 1.0})


def engine_of_trl(path, volumes, folder, **settings):
    network = load_policy(path, None, "float32")
    processor = load_slice_processor(path, network.config.vision_config, SIZE)
    arguments = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True,
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": VOLUMES_A_STEP, "num_generations": 4,
        "max_completion_length": 96, "beta": KL, "loss_type": "grpo", "learning_rate": LEARNING_RATE, "optim": "sgd",
        "lr_scheduler_type": "constant", "shuffle_dataset": False, "gradient_checkpointing": False,
        # Paper, Eq. 3. Where policy and old policy are one, TRL's correction leaves the loss but not its gradient.
        "use_bias_correction_kl": False,
        "logging_steps": 1, "save_strategy": "no",
    }  # fmt: skip
    return grpo_trainer(
        max_epochs=1,
        network=network,
        processor=processor,
        reward=rewards(),
        train_dataset=trl_dataset(volumes, PromptBuilder(processor.tokenizer)),
        validation_dataset=None,
        lora_rank=settings.pop("lora_rank", RANK),
        arguments=GRPOConfig(**arguments | settings),
    )


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_rewards_losses_gradients_and_weights_are_those_of_our_engine(path, volumes, tmp_path):
    trl = engine_of_trl(path, volumes, tmp_path)
    ours = VolumeLVLM(path).load().add_lora(RANK, 2 * RANK)
    start = {name: weight.clone() for name, weight in trl.model.state_dict().items() if "lora_" in name}
    assert not ours.qwen.load_state_dict(start, strict=False).unexpected_keys
    encode = ours.prompts.completion_ids
    by_query = {item.texts[0]: written(item) for item in volumes}
    scored = []

    def rollout(prompts, trainer):
        chats = trainer.processing_class.apply_chat_template(
            prompts, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        texts = [text for item in volumes[trl.state.global_step * 2 :][:2] for text in by_query[item.texts[0]]]
        return {"prompt_ids": chats["input_ids"], "completion_ids": [encode(text) for text in texts], "logprobs": None}

    trl.rollout_func = rollout
    score = trl._calculate_rewards
    trl._calculate_rewards = lambda *given: scored.append(score(*given)) or scored[-1]
    trl.train()

    def generate(volume, queries, **settings):
        return [[Completion(text, torch.tensor(encode(text)), True) for text in by_query[query]] for query in queries]

    ours.generate = generate
    steps = []
    reward = rewards()
    trainer = GRPOTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[volumes[start : start + 2] for start in range(0, len(volumes), 2)],
        network=ours,
        optimizer=torch.optim.SGD([weight for weight in ours.parameters() if weight.requires_grad], lr=LEARNING_RATE),
        loss_function=GRPOLoss(kl_coefficient=KL),
        sampler=RolloutSampler(reward, num_generations=4),
        reference=ReferencePolicy(ours),
        bf16=False,
        train_handlers=[],
    )
    trainer.inferer = SimpleInferer()
    trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: steps.append(engine.state.output[0]))
    trainer.run()

    logged = [entry for entry in trl.state.log_history if "loss" in entry]
    assert len(steps) == len(logged) == len(scored) == STEPS
    for step, log, scores in zip(steps, logged, scored, strict=True):
        terms = [rollouts.record.terms for rollouts in step["rollouts"]]
        for number, name in enumerate(reward.terms):
            assert scores[:, number].tolist() == pytest.approx(terms[0][name] + terms[1][name], abs=1e-6)
        update = step["update"]
        assert log["loss"] == pytest.approx(update.loss, abs=1e-5)
        assert log["grad_norm"] == pytest.approx(update.grad_norm, rel=1e-4)
    assert all(scores.sum(dim=1).unique().numel() > 4 for scores in scored)
    assert steps[-1]["update"].loss > 0.005, "the KL term must show in what is compared"
    end = trl.model.state_dict()
    for name, weight in ours.qwen.state_dict().items():
        if "lora_" in name:
            torch.testing.assert_close(end[name], weight, rtol=0, atol=1e-5)


def test_without_an_adapter_it_refuses(path, volumes, tmp_path):
    with pytest.raises(ValueError, match="lora_rank is 0; TRL's engine trains an adapter.*`lora_rank`"):
        engine_of_trl(path, volumes, tmp_path, lora_rank=0)


def test_without_trl_it_says_what_to_install(monkeypatch):
    require_trl()
    monkeypatch.setattr("medvol_r1.training.trl_engine.find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(ImportError, match=r'TRL\'s engine needs trl: `python -m pip install .*"\.\[trl\]"`'):
        require_trl()

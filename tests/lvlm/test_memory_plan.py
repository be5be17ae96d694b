from pathlib import Path

import pytest
import torch
from medvol_r1.device import select_device
from medvol_r1.lvlm.memory_plan import plan_training, print_plan

CONFIG = Path(__file__).parents[2] / "bundle" / "models" / "qwen3vl_4b"
PAPER = {
    "lora_rank": 128,
    "dtype": "bfloat16",
    "num_slices": 64,
    "slice_size": 256,
    "queries_per_volume": 1,
    "max_new_tokens": 256,
    "gradient_checkpointing": True,
}


def test_the_4b_network_is_counted_without_weights(capsys):
    plan = plan_training(CONFIG, **PAPER)
    # LoRA of rank 128 on a matrix in -> out has 128 (in + out) weights; hidden 2560, q 4096, k and v 1024, MLP 9728:
    # q 6656, o 6656, k 3584, v 3584, gate, up and down 12288 each -> 57344 * 128 a layer, 36 layers.
    assert plan.trainable == 57344 * 128 * 36
    assert plan.parameters - plan.trainable == pytest.approx(4.44e9, rel=0.005)  # Qwen3-VL-4B as published: 4.44 B
    # 64 slices of 8 x 8 visual tokens
    assert plan.tokens > 64 * 64
    print_plan(plan, "the command")
    printed = capsys.readouterr().out
    assert "trainable" in printed and "expected memory" in printed and "the command" in printed


def test_checkpointing_saves_memory_and_full_training_costs_it():
    plain = plan_training(CONFIG, **(PAPER | {"gradient_checkpointing": False}))
    assert plain.activations > 5 * plan_training(CONFIG, **PAPER).activations
    whole = plan_training(CONFIG, **(PAPER | {"lora_rank": 0}))
    assert whole.trainable == whole.parameters and whole.optimizer == 12 * whole.parameters


def test_no_configuration(tmp_path):
    with pytest.raises(ValueError, match="No config.json.*plan_config"):
        plan_training(tmp_path, **PAPER)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert'"):
        plan_training(tmp_path, **PAPER)


def test_select_device():
    assert select_device("cpu") == torch.device("cpu")
    assert select_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="legal are auto, cpu, cuda"):
        select_device("gpu")
    with pytest.raises(ValueError, match=f"cuda:{torch.cuda.device_count()}.*was asked for.*use cpu or auto"):
        select_device(f"cuda:{torch.cuda.device_count()}")

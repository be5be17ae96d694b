"""What is wrong with a folder of Qwen3-VL is said by name."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from medvol_r1.demo_models.tiny_lvlm import CHAT_TEMPLATE
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.weights import WeightsError, load_tokenizer
from monai.bundle import ConfigParser
from safetensors.torch import load_file, save_file
from tiny_models import save_random_lvlm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("lvlm"))


@pytest.mark.parametrize("damage", ["no_folder", "empty", "truncated", "other_model", "other_size"])
def test_bad_weights_are_named(folder, tmp_path, damage):
    target = tmp_path / "model"
    expected = {
        "no_folder": "No language model at",
        "empty": "holds no config.json",
        "truncated": "cannot be read",
        "other_model": "is a 'bert' model, need 'qwen3_vl' or 'qwen2_5_vl'",
        "other_size": "do not fit their config.json|cannot be read",
    }[damage]
    if damage != "no_folder":
        target.mkdir()
    if damage in ("truncated", "other_size"):
        for file in folder.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    if damage == "truncated":
        weights = (target / "model.safetensors").read_bytes()
        (target / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    if damage == "other_size":
        config = json.loads((target / "config.json").read_text())
        config["text_config"]["num_hidden_layers"] += 1
        (target / "config.json").write_text(json.dumps(config))
    if damage == "other_model":
        (target / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match=expected):
        VolumeLVLM(str(target)).load()


@pytest.mark.parametrize("path", ["Qwen/Qwen3-VL-4B-Instruct", "nowhere/at/all"])
def test_nothing_is_downloaded(monkeypatch, path):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: asked.append(arguments) or [])
    with pytest.raises(WeightsError, match="No language model at .*`lvlm_path`.*`hf download Qwen/Qwen3-VL"):
        VolumeLVLM(path).load()
    assert asked == []


def test_the_config_of_the_papers_scale_names_a_local_folder():
    parser = ConfigParser()
    configs = Path(__file__).resolve().parents[2] / "bundle" / "configs"
    parser.read_config([configs / "inference.json", configs / "qwen3vl_4b.json"])
    parser["bundle_root"] = "bundle"
    assert parser.get_parsed_content("lvlm_path") == "bundle/models/Qwen3-VL-4B-Instruct"  # where the message puts it


# The tokenizer ------------------------------------------------------------------------------------------------------


def without(folder, target, *names):
    """A copy of a model's folder without some files."""
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*names))


def test_no_tokenizer(folder, tmp_path):
    path = str(without(folder, tmp_path / "model", "tokenizer*"))
    with pytest.raises(WeightsError, match=r"holds no tokenizer \(tokenizer.json or vocab.json\)"):
        VolumeLVLM(path).load()


def test_a_cut_tokenizer(folder, tmp_path):
    target = without(folder, tmp_path / "model")
    (target / "tokenizer.json").write_text((folder / "tokenizer.json").read_text()[:5000])
    with pytest.raises(WeightsError, match="The tokenizer in .* cannot be read"):
        load_tokenizer(str(target))


def test_a_chat_template_in_the_form_of_a_processor(folder, tmp_path):
    target = without(folder, tmp_path / "model", "chat_template*")
    with pytest.raises(WeightsError, match="holds no chat template"):
        load_tokenizer(str(target))
    (target / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    assert load_tokenizer(str(target)).chat_template == CHAT_TEMPLATE


def test_the_end_of_the_turn_ends_beside_a_fine_tuned_end(folder, tmp_path):
    """Generation config and tokenizer both name another token."""
    target = without(folder, tmp_path / "model")
    end, turn = "<|endoftext|>", "<|im_end|>"
    ids = load_tokenizer(str(target)).convert_tokens_to_ids([end, turn])
    for name, value in {"generation_config.json": ids[0], "tokenizer_config.json": end}.items():
        config = json.loads((target / name).read_text())
        config["eos_token" if isinstance(value, str) else "eos_token_id"] = value
        (target / name).write_text(json.dumps(config))
    lvlm = VolumeLVLM(str(target)).load()
    assert lvlm.prompts.tokenizer.eos_token == end
    assert lvlm.base.generation_config.eos_token_id == ids
    assert lvlm.prompts.completion_ids("the liver")[-1] == ids[1]  # what is trained is what ends
    assert VolumeLVLM(str(folder)).base.generation_config.eos_token_id == ids[1]  # as it was


# Adapters -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("adapter")
    VolumeLVLM(str(folder)).add_lora(rank=2, alpha=4).save(target)
    return target


def renamed(weights):
    return {f"module.{name}": weight for name, weight in weights.items()}


def half(weights):
    return dict(list(weights.items())[::2])


def one_more(weights):
    return weights | {"base_model.model.lm_head.lora_A.weight": torch.zeros(2, 96)}


def of_another_rank(weights):
    return {name: torch.cat([weight, weight], dim=int("lora_B" in name)) for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, r"42 fit nothing in it \(e.g. module.base_model.*42 are missing \(e.g. base_model"),
        (half, r"does not fit the model: of its weights 21 are missing \(e.g. base_model"),
        (one_more, r"of its weights 1 fit nothing in it \(e.g. base_model.model.lm_head.lora_A.weight\)"),
        (of_another_rank, "The adapter in .* cannot be read"),
    ],
)
def test_an_adapter_that_does_not_fit(folder, adapter, tmp_path, change, message):
    target = shutil.copytree(adapter, tmp_path / "adapter")
    save_file(change(load_file(target / "adapter_model.safetensors")), target / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match=message):
        VolumeLVLM(str(folder), adapter=str(target)).load()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "it has no adapter_model.safetensors or adapter_model.bin.*`lvlm_adapter`"),
        (lambda file: file.write_bytes(file.read_bytes()[:1000]), "The adapter in .* cannot be read"),
        (lambda file: (file.parent / "adapter_config.json").unlink(), "it has no adapter_config.json.*`lvlm_adapter`"),
    ],
)
def test_a_damaged_adapter(folder, adapter, tmp_path, damage, message):
    target = shutil.copytree(adapter, tmp_path / "adapter")
    damage(target / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match=message):
        VolumeLVLM(str(folder), adapter=str(target)).load()

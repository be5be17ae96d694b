"""What is wrong with a folder of Qwen3-VL is said by name."""

import json

import pytest
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.weights import WeightsError
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
        "other_model": "is a 'bert' model, need 'qwen3_vl'",
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

"""Weights: the official names, our own folders, and files that cannot be used."""

import json
import re
import shutil

import pytest
import torch
from golden_medsam2 import official_state_dict
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.weights import WeightFileError, convert_official_state_dict, load_medsam2, t512_config
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_medsam2(image_size=32).save_pretrained(folder)
    return folder


def test_official_checkpoint_loads_with_every_tensor_used(official_checkpoint):
    official = official_state_dict()
    model = load_medsam2(official_checkpoint)
    own = model.state_dict()
    # 471 official tensors; four point embeddings become one table (-3), the Fourier matrix is stored twice (+1).
    assert len(official) == 471 and len(own) == 471 - 3 + 1
    assert sum(p.numel() for p in model.parameters()) == 38_962_498
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.image_size == t512_config().image_size == 512
    pairs = {
        "image_encoder.trunk.blocks.3.mlp.layers.1.weight": "vision_encoder.backbone.blocks.3.mlp.proj_out.weight",
        "sam_mask_decoder.iou_prediction_head.layers.1.bias": "mask_decoder.iou_prediction_head.layers.0.bias",
        "sam_mask_decoder.iou_prediction_head.layers.2.bias": "mask_decoder.iou_prediction_head.proj_out.bias",
        "sam_prompt_encoder.mask_downscaling.3.weight": "prompt_encoder.mask_embed.conv2.weight",
        "memory_encoder.mask_downsampler.encoder.4.bias": "memory_encoder.mask_downsampler.layers.1.layer_norm.bias",
        "memory_encoder.fuser.layers.1.gamma": "memory_encoder.memory_fuser.layers.1.scale",
    }
    for official_name, name in pairs.items():
        assert torch.equal(official[official_name], own[name]), name
    for label in range(4):
        row = own["prompt_encoder.point_embed.weight"][label]
        assert torch.equal(row, official[f"sam_prompt_encoder.point_embeddings.{label}.weight"][0])


def test_every_official_tensor_arrives_once():
    official = {name: torch.tensor(float(i)) for i, name in enumerate(official_state_dict())}
    official = {name: v.reshape(1) if "point_embeddings" in name else v for name, v in official.items()}
    arrived = torch.cat([v.reshape(-1) for v in convert_official_state_dict(official).values()])
    assert set(arrived.tolist()) == {float(i) for i in range(len(official))}


def test_our_folder_and_its_safetensors_file_load_alike(tiny_folder):
    from_folder, from_file = load_medsam2(tiny_folder), load_medsam2(tiny_folder / "model.safetensors")
    for name, tensor in build_tiny_medsam2(image_size=32).state_dict().items():
        assert torch.equal(tensor, from_folder.state_dict()[name]), name
        assert torch.equal(tensor, from_file.state_dict()[name]), name
    assert not from_folder.training and not any(p.requires_grad for p in from_folder.parameters())


def test_the_named_file_is_loaded_and_not_its_neighbour(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["no_memory_embedding"] += 1
    save_file(weights, folder / "finetuned.safetensors")
    found = [load_medsam2(path).no_memory_embedding for path in (folder / "finetuned.safetensors", folder)]
    torch.testing.assert_close(found[0], found[1] + 1)


def test_a_folder_of_shards(tiny_folder, tmp_path):
    whole = load_medsam2(tiny_folder)
    whole.save_pretrained(tmp_path, max_shard_size="3MB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1 and not (tmp_path / "model.safetensors").exists()
    sharded = load_medsam2(tmp_path).state_dict()
    assert all(torch.equal(weight, sharded[name]) for name, weight in whole.state_dict().items())
    with pytest.raises(WeightFileError, match=rf"{shards[0].name} does not fit its config.json: \d+ missing"):
        load_medsam2(shards[0])
    shards[0].unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {shards[0].name} beside its config.json"):
        load_medsam2(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightFileError, match="is not an index of shards"):
        load_medsam2(tmp_path)


def test_missing_file_names_the_file_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MedSAM2_latest\.pt.*hf download wanglab/MedSAM2 MedSAM2_latest\.pt"):
        load_medsam2(tmp_path / "MedSAM2_latest.pt")
    with pytest.raises(FileNotFoundError, match="no config.json"):
        load_medsam2(tmp_path)


def test_truncated_checkpoint(official_checkpoint, tmp_path):
    cut = tmp_path / "cut.pt"
    with open(official_checkpoint, "rb") as source:
        cut.write_bytes(source.read(1_000_000))
    with pytest.raises(WeightFileError, match=r"cut\.pt is truncated"):
        load_medsam2(cut)
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(WeightFileError, match=r"empty\.pt is truncated"):
        load_medsam2(tmp_path / "empty.pt")


def test_truncated_safetensors(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(WeightFileError, match=r"model\.safetensors is truncated or damaged"):
        load_medsam2(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], 'not an official checkpoint of the form {"model": state_dict}'),
        ({"state_dict": {}}, 'not an official checkpoint of the form {"model": state_dict}'),
        ({"model": {"a": 1}}, 'not an official checkpoint of the form {"model": state_dict}'),
        ({"model": {"backbone.weight": torch.zeros(2)}}, "469 missing (e.g. mask_decoder.conv_s0.bias"),
        ({"model": {"backbone.weight": torch.zeros(2)}}, "1 unused (e.g. backbone.weight)"),
    ],
)
def test_another_checkpoint(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightFileError, match=re.escape(message)):
        load_medsam2(tmp_path / "other.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"model": build_tiny_medsam2(image_size=32).prompt_encoder}, tmp_path / "module.pt")
    with pytest.raises(WeightFileError, match="not a PyTorch checkpoint"):
        load_medsam2(tmp_path / "module.pt")


def test_another_size_of_the_official_architecture(tmp_path):
    state_dict = official_state_dict()
    state_dict["image_encoder.trunk.pos_embed"] = torch.zeros(1, 112, 7, 7)  # Hiera base+
    torch.save({"model": state_dict}, tmp_path / "base_plus.pt")
    with pytest.raises(WeightFileError, match=r"1 of another shape \(e\.g\. vision_encoder\.backbone\.pos_embed\)"):
        load_medsam2(tmp_path / "base_plus.pt")


def test_folder_of_another_architecture(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_vl"}))
    with pytest.raises(WeightFileError, match="another architecture: 'qwen3_vl'"):
        load_medsam2(folder)
    (folder / "config.json").write_text(json.dumps(config | {"memory_attention_num_layers": 3}))
    with pytest.raises(WeightFileError, match=r"missing \(e\.g\. memory_attention\.layers\.2"):
        load_medsam2(folder)

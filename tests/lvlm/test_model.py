import copy
import json

import numpy as np
import pytest
import torch
from medvol_r1.lvlm.model import Sampling, VolumeLVLM, WeightsError, slices_to_patches
from tiny_models import save_random_lvlm
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

QUERIES = ["the organ that secretes bile", "show both kidneys"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=3.0)


@pytest.fixture
def lvlm(folder):
    return VolumeLVLM(str(folder), max_new_tokens=12)


@pytest.fixture
def slices():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_patches_equal_transformers_image_processor():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_resize=False
    )
    expected = processor([image.transpose(1, 2, 0) for image in pixels], return_tensors="pt")
    patches = slices_to_patches(torch.from_numpy(pixels) / 255, patch_size=16, merge_size=2, temporal_size=2)
    torch.testing.assert_close(patches, expected["pixel_values"].float(), rtol=0, atol=1e-6)
    assert expected["image_grid_thw"].tolist() == [[1, 4, 6], [1, 4, 6]]


def test_patches_refuse_a_side_that_does_not_divide():
    with pytest.raises(ValueError, match="40x32 pixels do not divide into 32x32.*slice_size"):
        slices_to_patches(torch.zeros(1, 3, 40, 32), 16, 2, 2)


def test_sampling_is_reproducible_and_grouped(lvlm, slices):
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=50)
    runs = [
        lvlm.generate(slices, QUERIES, num_samples=3, sampling=sampling, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    ]
    texts = [[[completion.text for completion in group] for group in run] for run in runs]
    assert texts[0] == texts[1] != texts[2]
    assert [len(group) for group in texts[0]] == [3, 3]


def test_vision_tokens_are_never_written(lvlm, slices):
    base = lvlm.load().base
    config = base.config
    banned = [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]
    with torch.no_grad():  # make them the favourites
        base.get_input_embeddings().weight[banned] *= 50
    written = torch.cat([completion.ids for group in lvlm.generate(slices, QUERIES) for completion in group])
    assert not set(written.tolist()) & set(banned)


def test_decoding_in_turns_gives_the_same(lvlm, slices, monkeypatch):
    together = lvlm.generate(slices, QUERIES * 2)
    monkeypatch.setattr("medvol_r1.lvlm.decoding._MAX_DECODED_TOGETHER", 1)
    one_by_one = lvlm.generate(slices, QUERIES * 2)
    assert [group[0].text for group in together] == [group[0].text for group in one_by_one]


def test_slices_are_resized_to_the_models_size(folder):
    lvlm = VolumeLVLM(str(folder), slice_size=32)
    volume = lvlm.encode(torch.rand(2, 100, 80))
    assert volume.visual_mask.sum() == 2 * (32 // 16) ** 2


@pytest.mark.parametrize("shape", [(32, 32), (2, 2, 32, 32), (0, 32, 32), (1, 1, 2, 32, 32)])
def test_wrong_shapes_are_refused(lvlm, shape):
    with pytest.raises(ValueError, match=r"\[S, H, W\] or \[S, 3, H, W\]"):
        lvlm.encode(torch.zeros(shape))


def test_forward_with_an_image_alone_gives_a_mask(lvlm):
    mask = lvlm(torch.rand(2, 1, 3, 32, 32))
    assert mask.shape == (2, 1, 3, 32, 32) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_construction_is_light_and_copies_survive(folder, slices):
    light = VolumeLVLM(str(folder), max_new_tokens=3)
    assert sum(weight.numel() for weight in light.parameters()) == 0
    assert list(light.state_dict()) == ["format_version"]
    copied = copy.deepcopy(light)
    text = light.generate(slices, QUERIES)[0][0].text
    assert copied.generate(slices, QUERIES)[0][0].text == text
    assert copy.deepcopy(light).generate(slices, QUERIES)[0][0].text == text


def test_lora_trains_the_language_model_only_and_is_saved_alone(lvlm, slices, tmp_path):
    lvlm.add_lora(rank=4, alpha=8)
    trained = [name for name, weight in lvlm.named_parameters() if weight.requires_grad]
    assert trained and all("lora_" in name and "language_model" in name for name in trained)
    with torch.no_grad():
        for name, weight in lvlm.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    text = lvlm.generate(slices, QUERIES)[0][0].text
    lvlm.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    merged = VolumeLVLM(lvlm.path, adapter=str(tmp_path / "adapter"), max_new_tokens=12)
    assert merged.generate(slices, QUERIES)[0][0].text == text
    assert VolumeLVLM(lvlm.path, max_new_tokens=12).generate(slices, QUERIES)[0][0].text != text


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


@pytest.mark.parametrize("arguments, message", [({"dtype": "int8"}, "int8"), ({"max_new_tokens": 0}, "max_new_tokens")])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VolumeLVLM("anywhere", **arguments)
    with pytest.raises(ValueError, match="top_p"):
        Sampling(top_p=0.0)

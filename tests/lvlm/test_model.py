import copy

import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from tiny_models import save_random_lvlm

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
    monkeypatch.setattr("medvol_r1.lvlm.decoding.memory._MAX_DECODED_TOGETHER", 1)
    one_by_one = lvlm.generate(slices, QUERIES * 2)
    assert [group[0].text for group in together] == [group[0].text for group in one_by_one]


def test_the_last_volume_is_encoded_once(lvlm, slices, folder):
    """Another image, weights that changed, slices changed in place, and training make another."""
    volume = lvlm.encode(slices)
    assert lvlm.encode(slices.clone()) is volume
    lvlm.generate(volume, QUERIES)
    fresh = VolumeLVLM(str(folder), max_new_tokens=12).generate(slices, QUERIES[:1])[0][0]
    again = lvlm.generate(slices, QUERIES[:1])[0][0]
    assert again.ids.tolist() == fresh.ids.tolist() and again.entropy == fresh.entropy
    slices[0] = 0
    other = lvlm.encode(slices)
    assert other is not volume and not other.visual_embeds.equal(volume.visual_embeds)
    with torch.no_grad():
        lvlm.base.model.visual.patch_embed.proj.weight.mul_(2)
    assert not lvlm.encode(slices).visual_embeds.equal(other.visual_embeds)
    lvlm.unfreeze()
    assert lvlm.encode(slices) is not lvlm.encode(slices)


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


@pytest.mark.parametrize("arguments, message", [({"dtype": "int8"}, "int8"), ({"max_new_tokens": 0}, "max_new_tokens")])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VolumeLVLM("anywhere", **arguments)


@pytest.mark.parametrize("form, num_slices", [("boxes", 3), ("boxes_and_points", 3), ("image", 1)])
def test_valid_answers_parse_in_each_form(folder, slices, form, num_slices):
    lvlm = VolumeLVLM(str(folder), constrained=True, answer_form=form, max_new_tokens=200)
    sampling = Sampling(temperature=1.0)
    generator = torch.Generator().manual_seed(0)
    ((*answers,),) = lvlm.generate(
        slices[:num_slices], QUERIES[:1], num_samples=4, sampling=sampling, generator=generator
    )
    anchors = [parse_completion(answer.text, num_slices, form) for answer in answers]
    assert all(isinstance(anchor, EvidenceAnchor) for anchor in anchors) and len(set(anchors)) > 1
    if form == "image":
        assert all(len(anchor.points_xy_1000[0]) == 2 for anchor in anchors)


def test_what_is_not_a_form_is_refused(folder):
    with pytest.raises(ValueError, match="answer_form is 'points'; legal are boxes, boxes_and_points, image"):
        VolumeLVLM(str(folder), answer_form="points")


def test_a_limit_without_room_for_an_answer_is_told_when_the_weights_are_read(folder):
    with pytest.raises(ValueError, match="max_new_tokens is 12, but with `constrained`.*or `constrained` false"):
        VolumeLVLM(str(folder), max_new_tokens=12, constrained=True).load()

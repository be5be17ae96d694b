"""A volume is encoded as transformers would; what is made of tokens does not depend on how they are given."""

import pytest
import torch
from medvol_r1.lvlm.encoded_volume import hidden_states, prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.vision import slices_to_patches
from transformers import DynamicCache


@pytest.fixture
def lvlm(folder):
    return VolumeLVLM(folder).load()


@torch.no_grad()
def test_tokens_behind_a_cached_prefix_are_as_in_one_sequence(lvlm):
    volume = lvlm.encode(torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)))
    tail = torch.tensor(lvlm.prompts.tail_ids("the liver"))
    first = int(volume.position_ids.max()) + 1
    positions = (first + torch.arange(len(tail))).expand(3, 1, -1)
    ids = torch.cat([volume.prefix_ids, tail])[None]
    together = torch.cat([volume.position_ids[:, None], positions], dim=-1)
    expected = hidden_states(lvlm.base, ids, together, volume=volume)[:, -len(tail) :]
    cache = DynamicCache(config=lvlm.base.config.get_text_config())
    hidden_states(lvlm.base, volume.prefix_ids[None], volume.position_ids[:, None], volume=volume, cache=cache)
    mask = torch.ones(1, 1, len(tail), ids.shape[1], dtype=torch.bool).tril(ids.shape[1] - len(tail))
    found = hidden_states(lvlm.base, tail[None], positions, attention_mask=mask, cache=cache)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_what_the_vision_tower_saw_reaches_every_layer(lvlm):
    """Without the deepstack features, or with other embeddings, the keys of the prefix are others."""
    volume = lvlm.encode(torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)))
    other = lvlm.encode(torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1)))
    layers, others = prefilled(lvlm.base, volume), prefilled(lvlm.base, other)
    assert len(layers) == 3 and layers[0][0].shape[2] == len(volume.prefix_ids)
    text = int(volume.visual_mask.nonzero()[0])  # tokens in front of the first slice
    for one, another in zip(layers, others, strict=True):
        assert torch.equal(one[0][:, :, :text], another[0][:, :, :text])
        assert (one[0][:, :, text:] - another[0][:, :, text:]).abs().max() > 1e-3


def test_a_kept_prefix_is_that_of_the_weights_and_of_autocast(folder, slices):
    lvlm = VolumeLVLM(folder)
    volume, base = lvlm.encode(slices), lvlm.base
    first = prefilled(base, volume)
    assert prefilled(base, volume) is first
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = prefilled(base, volume)
    assert 1e-4 < (rough[0][1] - first[0][1]).abs().max() < 1
    torch.testing.assert_close(prefilled(base, volume), first)
    with torch.no_grad():
        base.model.language_model.layers[0].self_attn.v_proj.weight.mul_(2)
    torch.testing.assert_close(prefilled(base, volume)[0][1], 2 * first[0][1])
    lvlm.unfreeze()
    trained = lvlm.encode(slices)
    assert prefilled(base, trained) is not prefilled(base, trained) and trained.kept.layers == ()


def test_vision_features_are_those_of_transformers(lvlm, slices):
    """It splits them by image, those of the early layers since a version between 5.17 and 5.23."""

    def joined(features):
        return features if isinstance(features, torch.Tensor) else torch.cat(tuple(features))

    volume, vision = lvlm.encode(slices), lvlm.base.config.vision_config
    pixels = slices_to_patches(slices[:, None].expand(-1, 3, -1, -1), vision.patch_size, 2, 2)
    expected = lvlm.base.model.get_image_features(pixels, volume.grid, return_dict=True)
    assert volume.visual_mask.sum() == 18 and len(volume.deepstack) == 2  # 3 slices of 2 x 3 tokens
    found = [volume.visual_embeds, *volume.deepstack]
    for one, other in zip(found, [expected.pooler_output, *expected.deepstack_features], strict=True):
        assert one.shape == (18, 96)
        torch.testing.assert_close(one, joined(other), rtol=0, atol=1e-5)


def test_volumes_of_several_lengths_are_encoded_as_alone(lvlm):
    generator = torch.Generator().manual_seed(0)
    volumes = [torch.rand(count, 32, 48, generator=generator) for count in (3, 1, 2)]
    for slices, found in zip(volumes, lvlm.encode_many(volumes), strict=True):
        alone = lvlm.encode(slices)
        torch.testing.assert_close(found.visual_embeds, alone.visual_embeds, atol=1e-5, rtol=1e-5)
        for early, expected in zip(found.deepstack, alone.deepstack, strict=True):
            torch.testing.assert_close(early, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(found.position_ids, alone.position_ids)


def test_prefixes_are_made_once_a_size(lvlm, monkeypatch):
    made, prefix_ids = [], type(lvlm.prompts).prefix_ids

    def counted(prompts, *size):
        made.append(size)
        return prefix_ids(prompts, *size)

    monkeypatch.setattr(type(lvlm.prompts), "prefix_ids", counted)
    first, second, third = lvlm.encode_many([torch.rand(count, 64, 32) for count in (2, 2, 5)])
    assert made == [(2, 8), (5, 8)]  # 64 x 32 pixels are 4 x 2 tokens
    assert first.prefix_ids is second.prefix_ids and len(third.prefix_ids) > len(first.prefix_ids)


def test_slices_are_resized_to_the_models_size(folder):
    lvlm = VolumeLVLM(str(folder), slice_size=32)
    volume = lvlm.encode(torch.rand(2, 100, 80))
    assert volume.visual_mask.sum() == 2 * (32 // 16) ** 2


@pytest.mark.parametrize("shape", [(32, 32), (2, 2, 32, 32), (0, 32, 32), (1, 1, 2, 32, 32)])
def test_wrong_shapes_are_refused(lvlm, shape):
    with pytest.raises(ValueError, match=r"\[S, H, W\] or \[S, 3, H, W\]"):
        lvlm.encode(torch.zeros(shape))


def test_slices_of_several_sizes_are_not_encoded_together(lvlm):
    with pytest.raises(ValueError, match=r"slices of one size, got \[\(32, 32\), \(32, 48\)\]"):
        lvlm.encode_many([torch.rand(1, 32, 32), torch.rand(1, 32, 48)])

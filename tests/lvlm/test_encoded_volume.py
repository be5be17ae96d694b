"""What the language model makes of tokens does not depend on how they are given."""

import pytest
import torch
from medvol_r1.lvlm.encoded_volume import hidden_states, prefilled
from medvol_r1.lvlm.model import VolumeLVLM
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

import importlib
import json
import sys

import pytest
import torch
from medvol_r1.lvlm import split_attention
from medvol_r1.lvlm.shared_prefix import PREFIX, pack_tree
from medvol_r1.lvlm.split_attention import NAME, use_split_attention
from tiny_models import save_random_lvlm
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, Qwen3VLForConditionalGeneration
from transformers.masking_utils import sdpa_mask

HEADS, GROUPS, SIZE = 4, 2, 8
PREFIX_LENGTH = 5
#  three queries; their completions are of unequal length, the last query has none
BRANCHES = [(PREFIX, 3), (0, 4), (0, 1), (PREFIX, 2), (3, 6), (PREFIX, 1)]


class Layer(torch.nn.Module):
    """What the attention function reads of the layer that calls it."""

    num_key_value_groups = HEADS // GROUPS
    is_causal = True
    layer_idx = 1


@pytest.fixture
def tree():
    positions = torch.arange(PREFIX_LENGTH).expand(3, -1)
    return pack_tree(torch.arange(PREFIX_LENGTH), positions, [(parent, torch.arange(n)) for parent, n in BRANCHES])


def random_heads(batch, length, num_heads, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, num_heads, length, SIZE, generator=generator, dtype=torch.float64).requires_grad_()


def attend(query, key, value, mask, **arguments):
    out, weights = split_attention.split_attention(Layer(), query, key, value, mask, scaling=0.3, **arguments)
    assert weights is None
    return out


def plain(query, key, value, mask):
    """Torch's attention under a mask of all pairs."""
    key, value = (one.repeat_interleave(HEADS // GROUPS, dim=1) for one in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3).transpose(1, 2)


@pytest.mark.parametrize("tokens_of_a_run, num_runs", [(512, 1), (10, 2), (1, 3)])
def test_branches_equal_the_dense_mask(tree, monkeypatch, tokens_of_a_run, num_runs):
    monkeypatch.setattr("medvol_r1.lvlm.shared_prefix._TOKENS_OF_A_RUN", tokens_of_a_run)
    inputs = [random_heads(1, len(tree.ids), heads, seed) for seed, heads in enumerate((HEADS, GROUPS, GROUPS))]
    mask = tree.branch_mask()
    assert len(mask.runs) == num_runs
    assert all(rows.shape == (1, 1, stop - start, PREFIX_LENGTH + stop - start) for start, stop, rows in mask.runs)
    found, expected = attend(*inputs, None, branches=mask), plain(*inputs, tree.dense_mask())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(9))
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_golden_runs(tree, monkeypatch):
    """Trees of 8, 8 and 1 tokens behind 5: a tree is never cut, and a run takes the next one while it fits."""
    expected = {7: [(5, 13), (13, 21), (21, 22)], 9: [(5, 13), (13, 22)], 16: [(5, 21), (21, 22)], 17: [(5, 22)]}
    for tokens_of_a_run, bounds in expected.items():
        monkeypatch.setattr("medvol_r1.lvlm.shared_prefix._TOKENS_OF_A_RUN", tokens_of_a_run)
        assert [run[:2] for run in tree.branch_mask().runs] == bounds


@pytest.mark.parametrize("length", [1, 3])
def test_a_prefix_that_stands_apart_equals_one_in_each_sequence(length):
    batch, behind = 3, 4
    query = random_heads(batch, length, HEADS, seed=0)
    key, value = random_heads(batch, behind, GROUPS, seed=1), random_heads(batch, behind, GROUPS, seed=2)
    shared = [random_heads(1, PREFIX_LENGTH, GROUPS, seed=3 + index) for index in range(2)]
    mask = torch.ones(length, behind, dtype=torch.bool).tril(behind - length).repeat(batch, 1, 1, 1)
    mask[1, ..., :2] = False  # padding
    mask[2] = False  # padding alone: it sees the prefix
    other_layer = (torch.zeros(1, GROUPS, 2, SIZE), torch.zeros(1, GROUPS, 2, SIZE))
    found = attend(query, key, value, mask, prefix=[other_layer, tuple(shared)])
    keys, values = (
        torch.cat([one.expand(batch, -1, -1, -1), own], dim=2) for one, own in zip(shared, (key, value), strict=True)
    )
    everywhere = torch.cat([torch.ones(batch, 1, length, PREFIX_LENGTH, dtype=torch.bool), mask], dim=-1)
    torch.testing.assert_close(found, plain(query, keys, values, everywhere), rtol=0, atol=1e-12)


def test_equal_shares_behind_prefixes_of_their_own():
    """Four sequences, two behind each of two prefixes, are as two batches of two."""
    behind = 4
    query, key, value = (random_heads(4, n, heads, seed=n) for n, heads in ((1, HEADS), (behind, GROUPS), (5, GROUPS)))
    value = value[:, :, :behind]
    prefixes = tuple(
        torch.cat([random_heads(1, PREFIX_LENGTH, GROUPS, seed=3 + i + j) for j in (0, 10)]) for i in (0, 1)
    )
    mask = torch.ones(4, 1, 1, behind, dtype=torch.bool)
    mask[1, ..., :2] = False
    other = (prefixes[0][:, :, :2], prefixes[1][:, :, :2])
    found = attend(query, key, value, mask, prefix=[other, prefixes])
    for number, part in enumerate((slice(0, 2), slice(2, 4))):
        own = tuple(one[number : number + 1] for one in prefixes)
        expected = attend(query[part], key[part], value[part], mask[part], prefix=[other, own])
        torch.testing.assert_close(found[part], expected, rtol=0, atol=1e-12)


def test_a_prefix_without_a_mask_is_refused():
    """Without the error the prefix would not be attended to, and nobody would know."""
    inputs = [random_heads(2, 6, heads, seed) for seed, heads in enumerate((HEADS, GROUPS, GROUPS))]
    layer = (torch.zeros(1, GROUPS, 2, SIZE), torch.zeros(1, GROUPS, 2, SIZE))
    with pytest.raises(ValueError, match="A shared prefix came without an attention mask"):
        attend(*inputs, None, prefix=[layer, layer])


def test_a_call_without_a_prefix_is_ordinary_attention():
    inputs = [random_heads(2, 6, heads, seed) for seed, heads in enumerate((HEADS, GROUPS, GROUPS))]
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    torch.testing.assert_close(attend(*inputs, None), plain(*inputs, causal), rtol=0, atol=1e-12)
    mask = causal.roll(1, dims=0) | torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(attend(*inputs, mask[None, None]), plain(*inputs, mask), rtol=0, atol=1e-12)


def test_only_the_language_model_gets_it_and_nothing_of_it_is_saved(tmp_path):
    model = Qwen3VLForConditionalGeneration.from_pretrained(save_random_lvlm(tmp_path / "model"))
    other = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "model")
    use_split_attention(model.model.language_model)
    assert model.model.language_model.config._attn_implementation == NAME
    assert model.config.vision_config._attn_implementation == "sdpa"
    assert other.model.language_model.config._attn_implementation == "sdpa"
    model.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert NAME not in json.dumps(config)


def test_it_works_under_padding_masks(tmp_path):
    """A mask of two dimensions reaches the attention: a left-padded row is as if it stood alone."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(save_random_lvlm(tmp_path, sharpen=3.0))
    use_split_attention(model.model.language_model)
    ids = torch.tensor([[30, 31, 32, 33, 34], [0, 0, 40, 41, 42]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).logits[1, -1]
        alone = model(input_ids=ids[1:, 2:]).logits[0, -1]
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-4)


def test_a_reload_changes_nothing():
    """As MONAI Label does with the modules of a bundle."""
    registered = AttentionInterface._global_mapping
    importlib.reload(sys.modules[split_attention.__name__])
    model = torch.nn.Module()
    model.set_attn_implementation = lambda name: None
    for _ in range(2):
        split_attention.use_split_attention(model)
        assert registered[NAME] is split_attention.split_attention
        assert AttentionMaskInterface._global_mapping[NAME] is sdpa_mask

"""Packed log-probabilities against separate sequences through transformers' own forward, images and all."""

import copy
import dataclasses
import warnings

import pytest
import torch
from medvol_r1.lvlm import log_probs as log_probs_module
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.shared_prefix import PREFIX, pack_tree
from medvol_r1.lvlm.vision import slices_to_patches

QUERIES = ["the organ that secretes bile", "show both kidneys", "the liver"]
LENGTHS = [(7, 3), (5,), (4, 9, 1)]  # of the completions of each query


@pytest.fixture(scope="module")
def completions():
    generator = torch.Generator().manual_seed(1)
    return [[torch.randint(20, 1000, (length,), generator=generator) for length in lengths] for lengths in LENGTHS]


def naive_log_probs(lvlm, slices, query, completion):
    """[n] of one completion."""
    base, vision = lvlm.base, lvlm.base.config.vision_config
    tokens_per_slice = slices.shape[1] * slices.shape[2] // 16**2
    prompt = lvlm.prompts.prefix_ids(len(slices), tokens_per_slice) + lvlm.prompts.tail_ids(query)
    ids = torch.tensor([prompt + completion.tolist()])
    pixels = slices_to_patches(slices[:, None].expand(-1, 3, -1, -1), vision.patch_size, 2, 2)
    grid = torch.tensor([[1, slices.shape[1] // 8, slices.shape[2] // 8]]).repeat(len(slices), 1)
    base.model.rope_deltas = None
    logits = base(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels.to(base.dtype),
        image_grid_thw=grid,
        mm_token_type_ids=(ids == base.config.image_token_id).int(),
        use_cache=False,
    ).logits
    log_probs = logits[0, len(prompt) - 1 : -1].log_softmax(dim=-1)
    return log_probs.gather(1, completion[:, None])[:, 0]


def flat(log_probs):
    return torch.cat([one for answers in log_probs for one in answers])


def all_naive(lvlm, slices, completions):
    return torch.cat(
        [
            naive_log_probs(lvlm, slices, query, ids)
            for query, answers in zip(QUERIES, completions, strict=True)
            for ids in answers
        ]
    )


def gradients(lvlm, log_probs):
    """Name to gradient of a weighted sum of the log-probabilities."""
    weights = torch.randn(len(log_probs), generator=torch.Generator().manual_seed(2), dtype=log_probs.dtype)
    lvlm.zero_grad(set_to_none=True)
    (weights * log_probs).sum().backward()
    return {name: weight.grad.clone() for name, weight in lvlm.named_parameters() if weight.grad is not None}


def shifted(tree, branch):
    """The tree with a branch one position too far; None shifts all."""
    moved = tree.owners > 0 if branch is None else tree.owners == branch + 1
    return dataclasses.replace(tree, position_ids=tree.position_ids + moved)


def leaking(tree, branch, into):
    """The tree with a branch that sees another."""
    visible = tree.visible.clone()
    visible[into + 1, branch + 1] = True
    return dataclasses.replace(tree, visible=visible)


# What may be wrong with a packed sequence. Branches: 0 the first query, 1 and 2 its completions, 3 the next query, ...
PLANTED = {
    "all positions off by one": lambda tree: shifted(tree, None),
    "one branch off by one": lambda tree: shifted(tree, 2),
    "a completion sees its neighbour": lambda tree: leaking(tree, branch=1, into=2),
    "a completion sees the query before": lambda tree: leaking(tree, branch=0, into=4),
    "the query is not seen": lambda tree: dataclasses.replace(
        tree, visible=torch.eye(len(tree.visible), dtype=torch.bool).index_fill(1, torch.tensor(0), True)
    ),
}


@pytest.fixture(params=PLANTED)
def planted(request, monkeypatch):
    """Packs wrongly, with whole trees in one run."""
    monkeypatch.setattr(log_probs_module, "pack_tree", lambda *arguments: PLANTED[request.param](pack_tree(*arguments)))


# The forms agree ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", log_probs_module.PACKINGS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_log_probs_equal_separate_sequences(folder, slices, completions, packing, dtype, tolerance):
    lvlm = VolumeLVLM(folder, packing=packing)
    lvlm.load().qwen.to(dtype)
    slices = slices.to(dtype)
    with torch.no_grad():
        found = lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)
        expected = all_naive(lvlm, slices, completions)
    assert [tuple(len(one) for one in answers) for answers in found] == LENGTHS
    assert flat(found).dtype == dtype
    assert (flat(found) - expected).abs().max() < tolerance
    assert lvlm.packing == packing


@pytest.mark.parametrize("packing", log_probs_module.PACKINGS)
@pytest.mark.parametrize("trained", ["all", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_separate_sequences(folder, slices, completions, packing, trained, checkpointing):
    lvlm = VolumeLVLM(folder, packing=packing)
    if trained == "lora":
        lvlm.add_lora(rank=4, alpha=8)
        with torch.no_grad():
            for name, weight in lvlm.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    else:
        lvlm.unfreeze()
    expected = gradients(lvlm, all_naive(lvlm, slices, completions))
    if checkpointing:
        lvlm.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    lvlm.train()
    found = gradients(lvlm, flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)))
    assert found.keys() == expected.keys() and len(found) > 40
    assert lvlm.packing == packing
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


def test_the_vision_tower_gets_its_gradient(folder, slices, completions):
    lvlm = VolumeLVLM(folder).unfreeze()
    found = gradients(lvlm, flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)))
    assert any("visual" in name and gradient.any() for name, gradient in found.items())


@pytest.mark.parametrize("packing", ["split", "dense"])
def test_bfloat16_autocast(folder, slices, completions, packing):
    lvlm = VolumeLVLM(folder, packing=packing).unfreeze()
    with torch.no_grad():
        exact = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
        separate = torch.cat(
            [
                one[0][0]
                for query, answers in zip(QUERIES, completions, strict=True)
                for ids in answers
                for one in [lvlm.log_probs(lvlm.encode(slices), [query], [[ids]])]
            ]
        )
    assert found.dtype == torch.float32
    # Two roundings of the same numbers: as near to each other as to the exact ones.
    rounding = (separate - exact).abs().mean()
    assert 0 < (found - exact).abs().mean() < 2 * rounding and (found - separate).abs().mean() < 2 * rounding
    found.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in lvlm.parameters() if weight.grad is not None)


def test_the_first_use_under_autocast_gives_gradients(folder, slices, completions):
    """Autocast keeps copies of the weights; the check must not leave it copies without gradient."""
    lvlm = VolumeLVLM(folder).unfreeze().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(lvlm, flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)))
    missing = {name for name, weight in lvlm.named_parameters() if name not in found or not found[name].any()}
    assert not {name for name in missing if "language_model" in name}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-3), (torch.bfloat16, 0.5)])
def test_on_a_gpu(folder, slices, completions, dtype, tolerance):
    """Other kernels; in float32 they may multiply in less."""
    lvlm = VolumeLVLM(folder, max_new_tokens=4).cuda().unfreeze()
    lvlm.qwen.to(dtype)
    found = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
    assert lvlm.packing == "split"
    separate = VolumeLVLM(folder, packing="none").cuda()
    separate.load().qwen.to(dtype)
    with torch.no_grad():
        expected = flat(separate.log_probs(separate.encode(slices), QUERIES, completions))
    assert (found - expected).abs().max() < tolerance
    found.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in lvlm.parameters() if weight.grad is not None)
    assert all(1 <= len(one.ids) <= 4 for group in lvlm.generate(slices, QUERIES, num_samples=3) for one in group)


def test_queries_without_completions(folder, slices, completions):
    lvlm = VolumeLVLM(folder)
    volume = lvlm.encode(slices)
    assert lvlm.log_probs(volume, QUERIES[:2], [[], []]) == [[], []]
    with torch.no_grad():
        found = lvlm.log_probs(volume, QUERIES, [[], completions[1], []])
        expected = lvlm.log_probs(volume, QUERIES[1:2], completions[1:2])
    assert [len(answers) for answers in found] == [0, 1, 0]
    torch.testing.assert_close(found[1][0], expected[0][0], rtol=0, atol=1e-5)


# The check at the first use -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["split", "dense"])
def test_a_planted_error_shows_in_the_comparison(folder, slices, completions, packing, planted):
    """The comparison above would fail: the check is switched off here."""
    lvlm = VolumeLVLM(folder, packing=packing)
    lvlm._packing_is_checked = True
    with torch.no_grad():
        found = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
    assert (found - all_naive(lvlm, slices, completions)).abs().max() > 1e-3  # tolerance of the comparison: 1e-5


def test_a_planted_error_leads_to_separate_sequences(folder, slices, completions, planted):
    lvlm = VolumeLVLM(folder)
    with torch.no_grad():
        volume = lvlm.encode(slices)
        with pytest.warns(RuntimeWarning, match="differ by .* from those of separate sequences") as caught:
            found = flat(lvlm.log_probs(volume, QUERIES, completions))
        assert [str(one.message).split("packing ")[1].split(" ")[0] for one in caught] == ["'split'", "'dense'"]
        assert lvlm.packing == "none"
        assert (found - all_naive(lvlm, slices, completions)).abs().max() < 1e-5
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once
            lvlm.log_probs(volume, QUERIES, completions)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_checked_in_float32(folder, slices, completions, dtype):
    """The weights come back bit for bit, an adapter of another type as it was."""
    lvlm = VolumeLVLM(folder).add_lora(rank=4, alpha=8)
    lvlm.base.to(dtype)
    types = {name: weight.dtype for name, weight in lvlm.named_parameters()}
    before = {name: weight.clone() for name, weight in lvlm.named_parameters()}
    seen, original = [], log_probs_module._packed

    def noted(base, *arguments):
        seen.append(base.dtype)
        return original(base, *arguments)

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_probs_module, "_packed", noted)
        lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)
    assert lvlm.packing == "split" and seen == [torch.float32, dtype]
    assert {name: weight.dtype for name, weight in lvlm.named_parameters()} == types
    assert all(torch.equal(weight, before[name]) for name, weight in lvlm.named_parameters())


def test_a_planted_error_shows_in_half_precision(folder, slices, completions, planted):
    lvlm = VolumeLVLM(folder, dtype="bfloat16")
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="differ by"):
        lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)
    assert lvlm.packing == "none"


@pytest.mark.parametrize("error, packing", [(0.02, "split"), (0.1, "none")])
def test_without_memory_for_float32_the_mean_is_judged(folder, slices, completions, monkeypatch, error, packing):
    """Each log-probability off by 0.1 stays below the largest that rounding gives; the mean is above it."""
    lvlm = VolumeLVLM(folder, dtype="bfloat16")
    original = log_probs_module.completion_log_probs

    def no_memory(base):
        raise torch.OutOfMemoryError

    def off(*arguments):
        exact = original(*arguments[:-1], "none")
        return exact if arguments[-1] == "none" else [[one + error for one in answers] for answers in exact]

    monkeypatch.setattr(log_probs_module, "_in_float32", no_memory)
    monkeypatch.setattr(log_probs_module, "completion_log_probs", off)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        volume = lvlm.encode(slices)
        tails = lvlm._tails(QUERIES, volume)
        assert log_probs_module.trusted_packing(lvlm.base, volume, tails, completions, "split") == packing


def test_an_error_of_split_attention_alone_leads_to_the_dense_mask(folder, slices, completions, monkeypatch):
    """A transformers that keeps its extra arguments to itself would compute plain causal attention."""
    monkeypatch.setattr("medvol_r1.lvlm.shared_prefix.PackedTree.branch_mask", lambda tree: None)
    lvlm = VolumeLVLM(folder)
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="packing 'split' differ"):
        found = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
    assert lvlm.packing == "dense"
    assert (found - all_naive(lvlm, slices, completions)).abs().max() < 1e-5


def test_nan_is_not_agreement(folder, slices, completions, monkeypatch):
    lvlm = VolumeLVLM(folder)
    packed = log_probs_module._packed

    def broken(*arguments):
        return [[one * torch.nan for one in answers] for answers in packed(*arguments)]

    monkeypatch.setattr(log_probs_module, "_packed", broken)
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="differ by nan"):
        lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)
    assert lvlm.packing == "none"


def test_the_check_is_small_and_done_once(folder, slices, completions, monkeypatch):
    lvlm, checked = VolumeLVLM(folder), []

    def alone(base, volume, tail, completion):
        checked.append(len(completion))
        return original(base, volume, tail, completion)

    original = log_probs_module._alone
    monkeypatch.setattr(log_probs_module, "_alone", alone)
    with torch.no_grad():
        volume = lvlm.encode(slices)
        lvlm.log_probs(volume, QUERIES, [[], *completions[1:]])
        assert checked == [5, 4, 9]  # two completions each of the first two queries that have any
        lvlm.log_probs(volume, QUERIES, completions)
        copy.deepcopy(lvlm).log_probs(volume, QUERIES, completions)
        assert len(checked) == 3
        VolumeLVLM(folder, packing="none").log_probs(volume, QUERIES[:1], completions[:1])
        assert checked[3:] == [7, 3]  # nothing to compare: these are the log-probabilities themselves


def test_the_check_leaves_training_as_it_was(folder, slices, completions):
    """Dropout is off in the check and on behind it; random numbers and gradients are as without it."""
    results = []
    for checked in (True, False):
        lvlm = VolumeLVLM(folder).add_lora(rank=4, alpha=8, dropout=0.5)
        torch.manual_seed(0)
        for name, weight in lvlm.named_parameters():
            if "lora_" in name:
                weight.data.normal_()
        lvlm.train()
        lvlm.base.model.visual.eval()
        lvlm._packing_is_checked = checked
        modes = [module.training for module in lvlm.modules()]
        found = flat(lvlm.log_probs(lvlm.encode(slices), QUERIES, completions))
        assert [module.training for module in lvlm.modules()] == modes
        assert lvlm.packing == "split" and found.requires_grad
        results.append((found, torch.rand(3)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_wrong_packing(folder):
    with pytest.raises(ValueError, match="packing must be one of split, dense, none, got 'flat'"):
        VolumeLVLM(folder, packing="flat")


def test_the_tree_that_is_packed(folder, slices, completions, monkeypatch):
    """Queries behind the prefix, completions behind their query."""
    seen = []

    def noted(*arguments):
        seen.append(arguments[2])
        return pack_tree(*arguments)

    monkeypatch.setattr(log_probs_module, "pack_tree", noted)
    lvlm = VolumeLVLM(folder)
    lvlm._packing_is_checked = True
    lvlm.log_probs(lvlm.encode(slices), QUERIES, completions)
    assert [parent for parent, _ in seen[0]] == [PREFIX, 0, 0, PREFIX, 3, PREFIX, 5, 5, 5]


def alike(completions):
    """The first query's completions begin with the same tokens; the last query has one of them twice."""
    common = torch.tensor([30, 31, 32])
    first = [torch.cat([common, completions[0][0]]), torch.cat([common, completions[0][1]]), common[:2]]
    return [first, completions[1], [*completions[2], completions[2][0]]]


@pytest.mark.parametrize("packing", ["split", "dense"])
def test_completions_that_begin_alike_have_the_numbers_and_gradients_of_separate_ones(
    folder, slices, completions, packing
):
    lvlm = VolumeLVLM(folder, packing=packing)
    lvlm.load().qwen.double()
    lvlm.unfreeze()
    expected = all_naive(lvlm, slices.double(), alike(completions))
    found = flat(lvlm.log_probs(lvlm.encode(slices.double()), QUERIES, alike(completions)))
    assert (found - expected).abs().max() < 1e-9
    wanted, given = gradients(lvlm, expected), gradients(lvlm, found)
    for name, gradient in wanted.items():
        # The vision tower rotates in float32.
        assert (given[name] - gradient).abs().max() <= 1e-6 * (1 + gradient.abs().max()), name


def test_what_completions_begin_with_is_computed_once(folder, slices, completions, monkeypatch):
    lengths = []

    def noted(*arguments):
        tree = pack_tree(*arguments)
        lengths.append(len(tree.ids) - len(arguments[0]) - sum(len(ids) for parent, ids in arguments[2] if parent < 0))
        return tree

    monkeypatch.setattr(log_probs_module, "pack_tree", noted)
    lvlm = VolumeLVLM(folder)
    lvlm._packing_is_checked = True
    lvlm.log_probs(lvlm.encode(slices), QUERIES, alike(completions))
    # 30 31 | 32 | 7 and 3 tokens; 5; 4, 9 and 1 with the first of them once.
    assert lengths == [2 + 1 + 7 + 3 + 5 + 4 + 9 + 1]

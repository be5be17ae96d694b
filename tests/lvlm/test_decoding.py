import pytest
import torch
from medvol_r1.lvlm import decoding
from medvol_r1.lvlm.decoding import Sampling
from medvol_r1.lvlm.model import VolumeLVLM
from tiny_models import save_random_lvlm
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

QUERIES = ["the organ that secretes bile", "show both kidneys and nothing else", "the liver"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=3.0))


@pytest.fixture
def slices():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


def drawn(sampling, logits, count=4000):
    """How often each token is chosen, as shares."""
    ids = sampling.choose(logits.repeat(count, 1), torch.Generator().manual_seed(0))
    return torch.bincount(ids, minlength=len(logits)) / count


@pytest.mark.parametrize(
    "sampling, expected",
    [
        (Sampling(1.0), [0.15, 0.5, 0.05, 0.3]),
        (Sampling(0.5), [0.0225 / 0.365, 0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365]),  # squares, over their sum .365
        (Sampling(1.0, top_k=2), [0, 0.5 / 0.8, 0, 0.3 / 0.8]),
        (Sampling(1.0, top_p=0.7), [0, 0.5 / 0.8, 0, 0.3 / 0.8]),  # .5 is not enough, .5 + .3 is
        (Sampling(1.0, top_p=0.4), [0, 1, 0, 0]),
        (Sampling(1.0, top_p=0.9), [0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95]),
        (Sampling(1.0, top_p=0.6, top_k=2), [0, 1, 0, 0]),  # among the two, .5 / .8 = .625 is enough
        (Sampling(1.0, top_k=100), [0.15, 0.5, 0.05, 0.3]),  # more than there are
        (Sampling(), [0, 1, 0, 0]),
    ],
)
def test_shares_of_the_tokens(sampling, expected):
    shares = drawn(sampling, torch.tensor([0.15, 0.5, 0.05, 0.3]).log())
    assert (shares - torch.tensor(expected)).abs().max() < 0.03  # three standard deviations: 3 sqrt(.25 / 4000) = .024
    assert [share > 0 for share in shares.tolist()] == [share > 0 for share in expected]


@pytest.mark.parametrize("temperature, top_p, top_k", [(0.7, 0.8, 20), (1.0, 0.9, 0), (2.0, 1.0, 5)])
def test_what_may_be_chosen_equals_transformers(monkeypatch, temperature, top_p, top_k):
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(1)) * 3
    empty, expected = torch.empty(6, 0, dtype=torch.long), logits
    for warper in (
        TemperatureLogitsWarper(temperature),
        *([TopKLogitsWarper(top_k)] if top_k else []),
        *([TopPLogitsWarper(top_p)] if top_p < 1 else []),
    ):
        expected = warper(empty, expected)
    expected = expected.softmax(dim=-1)
    chosen, given = [], {}

    def multinomial(weights, count, generator):
        given["weights"] = weights / weights.sum(dim=-1, keepdim=True)
        return given["rank"].expand(len(weights), 1)

    monkeypatch.setattr(torch, "multinomial", multinomial)
    for rank in range(top_k or 300):
        given["rank"] = torch.tensor(rank)
        ids = Sampling(temperature, top_p, top_k).choose(logits, None)
        chosen.append(expected.gather(1, ids[:, None])[:, 0])
    torch.testing.assert_close(torch.stack(chosen, dim=1), given["weights"], rtol=0, atol=1e-6)


def test_completions_in_training_are_those_of_evaluation(folder, slices):
    """Dropout, and gradient checkpointing, which takes the cache away while it trains."""
    lvlm = VolumeLVLM(folder, max_new_tokens=8).add_lora(rank=4, alpha=8, dropout=0.5)
    with torch.no_grad():
        for name, weight in lvlm.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    lvlm.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    expected = [group[0].ids.tolist() for group in lvlm.eval().generate(slices, QUERIES)]
    lvlm.train()
    assert [group[0].ids.tolist() for group in lvlm.generate(slices, QUERIES)] == expected
    assert all(module.training for module in lvlm.modules())


@pytest.mark.parametrize("together", [1, 4, 100])
def test_a_completion_does_not_depend_on_its_neighbours(folder, slices, monkeypatch, together):
    """Tails of other lengths, other sequences that end earlier: each is as if it were alone."""
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    assert len({len(lvlm.prompts.tail_ids(query)) for query in QUERIES}) == 3
    alone = [lvlm.generate(slices, [query])[0][0].ids.tolist() for query in QUERIES]
    end = lvlm.base.generation_config.eos_token_id = next(token for token in alone[1] if token not in alone[0])
    alone = [ids[: ids.index(end) + 1] if end in ids else ids for ids in alone]
    assert len(alone[1]) < len(alone[0])
    monkeypatch.setattr(decoding, "_MAX_DECODED_TOGETHER", together)
    groups = lvlm.generate(slices, QUERIES, num_samples=3)
    assert [[completion.ids.tolist() for completion in group] for group in groups] == [[ids] * 3 for ids in alone]
    assert lvlm.generate(slices, []) == []


def test_log_probs_of_what_is_written_are_highest(folder, slices):
    """Greedy tokens behind a shared prefix are those of the packed sequence, in bfloat16 autocast up to rounding."""
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    exact = lvlm.generate(slices, QUERIES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = lvlm.generate(slices, QUERIES)
    for completions, limit in ((exact, 1e-4), (rough, 0.3)):
        volume = lvlm.encode(slices)
        ids = [[group[0].ids] for group in completions]
        for query, (written,) in zip(QUERIES, ids, strict=True):
            for position in range(len(written)):
                others = [written[: position + 1].clone() for _ in range(3)]
                for other, token in zip(others, (30, 500, 900), strict=True):
                    other[position] = token
                mine, *theirs = lvlm.log_probs(volume, [query], [[written[: position + 1], *others]])[0]
                assert all(other[-1] <= mine[-1] + limit for other in theirs)


def test_writing_stops_at_the_end_token_or_the_limit(folder, slices):
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    ids = lvlm.generate(slices, QUERIES[:1])[0][0].ids.tolist()
    stop = ids[3]
    lvlm.base.generation_config.eos_token_id = [stop, 7]
    (completion,) = lvlm.generate(slices, QUERIES[:1])[0]
    first = ids.index(stop)
    assert completion.ids.tolist() == ids[: first + 1] and completion.finished
    assert completion.text == lvlm.prompts.tokenizer.decode(ids[:first])
    lvlm.base.generation_config.eos_token_id = 7
    (completion,) = lvlm.generate(slices, QUERIES[:1])[0]
    assert completion.ids.tolist() == ids and not completion.finished


def test_prefix_and_queries_are_computed_once_and_the_prefix_is_never_repeated(folder, slices, monkeypatch):
    shapes = []
    original = decoding.hidden_states

    def hidden_states(base, ids, positions, **arguments):
        shapes.append(tuple(ids.shape))
        for keys, values in arguments.get("prefix") or ():
            assert len(keys) == len(values) == 1
        return original(base, ids, positions, **arguments)

    monkeypatch.setattr(decoding, "hidden_states", hidden_states)
    lvlm = VolumeLVLM(folder, max_new_tokens=3)
    volume = lvlm.encode(slices)
    lvlm.generate(volume, QUERIES, num_samples=2)
    tail = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES)
    assert shapes == [(1, len(volume.prefix_ids)), (3, tail), (6, 1), (6, 1)]

"""Tokens one after another, against those of plain forwards."""

from itertools import chain, pairwise

import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion
from medvol_r1.constrained.token_choices import ConstrainedAnswer
from medvol_r1.lvlm.decoding import memory
from medvol_r1.lvlm.encoded_volume import hidden_states
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper

QUERIES = ["the organ that secretes bile", "show both kidneys and nothing else", "the liver"]


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


@torch.no_grad()
def written_plainly(lvlm, volume, query, limit, ends, answer=None):
    """Greedy tokens, all of a sequence computed anew for each: no cache, no shared prefix, no padding.

    With a `ConstrainedAnswer` those of its options, one by one where there is a choice.
    """
    base = lvlm.base
    banned = {base.config.image_token_id, base.config.video_token_id}
    banned |= {base.config.vision_start_token_id, base.config.vision_end_token_id}
    ids = torch.cat([volume.prefix_ids, torch.tensor(lvlm.prompts.tail_ids(query))])
    start = len(ids)
    if answer is not None:
        ids = torch.cat([ids, torch.tensor(answer.ids)])
    while len(ids) < start + limit and (len(ids) == start or int(ids[-1]) not in ends):
        more = torch.arange(1, len(ids) - len(volume.prefix_ids) + 1)
        positions = torch.cat([volume.position_ids, (volume.position_ids.max() + more).expand(3, -1)], dim=1)
        logits = base.lm_head(hidden_states(base, ids[None], positions[:, None], volume=volume)[0, -1])
        logits[list(banned)] = -torch.inf
        if answer is None:
            ids = torch.cat([ids, logits.argmax()[None]])
        else:
            options = answer.options()
            ids = torch.cat([ids, torch.tensor(answer.take(int(options[logits[options].argmax()])))])
    return ids[start:].tolist()


@pytest.fixture(scope="module")
def three_volumes(folder):
    """3 volumes x 10 queries: the network, volumes, queries, and plainly written ids; tails of four lengths."""
    lvlm = VolumeLVLM(folder, max_new_tokens=20)
    queries = [f"{QUERIES[i % 3]} {'and more ' * (i % 4)}{i}" for i in range(10)]
    volumes = [lvlm.encode(torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(i))) for i in range(3)]
    longest = written_plainly(lvlm, volumes[0], queries[0], 20, ())
    ends = lvlm.base.generation_config.eos_token_id = sorted({longest[4], longest[9], longest[0] + 1})
    lvlm.prompts.tokenizer.eos_token = None
    expected = [[written_plainly(lvlm, volume, query, 20, ends) for query in queries] for volume in volumes]
    lengths = {len(ids) for answers in expected for ids in answers}
    assert len(lengths) > 3 and min(lengths) < 5 and max(lengths) == 20
    return lvlm, volumes, queries, expected


@pytest.mark.parametrize("with_graphs", [False, True])
def test_tokens_equal_those_written_plainly(three_volumes, request, with_graphs):
    """G = 4; some end early, some never."""
    captures = request.getfixturevalue("graphs_on_a_cpu") if with_graphs else []
    lvlm, volumes, queries, expected = three_volumes
    for volume, answers in zip(volumes, expected, strict=True):
        groups = lvlm.generate(volume, queries, num_samples=4)
        assert [[one.ids.tolist() for one in group] for group in groups] == [[ids] * 4 for ids in answers]
        ends = lvlm.base.generation_config.eos_token_id
        assert [group[0].finished for group in groups] == [ids[-1] in ends for ids in answers]
    # Shapes of 40 sequences and fewer (64, 32, 16, 8 rows), captured once for all three volumes.
    assert len(captures) <= 4 and bool(captures) == with_graphs


def test_draws_of_the_loop_follow_the_distribution(folder, slices, graphs_on_a_cpu, monkeypatch):
    """Chi-square of the second of two tokens, over 1,500 completions, against the probabilities of plain forwards."""
    lvlm = VolumeLVLM(folder, max_new_tokens=2)
    volume, sampling = lvlm.encode(slices), Sampling(0.5, top_k=4)
    tail = torch.tensor(lvlm.prompts.tail_ids(QUERIES[0]))
    monkeypatch.setattr(memory, "_MAX_DECODED_TOGETHER", 512)
    completions = lvlm.generate(
        volume, QUERIES[:1], num_samples=1500, sampling=sampling, generator=torch.Generator().manual_seed(0)
    )[0]
    pairs = [tuple(one.ids.tolist()) for one in completions if len(one.ids) == 2]
    assert len(pairs) > 1400

    def chances(ids):
        scores = lvlm.log_probs(volume, QUERIES[:1], [[torch.tensor([*ids, token]) for token in range(vocabulary)]])[0]
        scores = torch.stack([one[-1] for one in scores])
        scores[banned] = -torch.inf
        return TopKLogitsWarper(4)(None, TemperatureLogitsWarper(0.5)(None, scores[None]))[0].softmax(dim=-1)

    vocabulary = lvlm.base.config.text_config.vocab_size
    banned = [lvlm.base.config.image_token_id, lvlm.base.config.vision_start_token_id]
    banned += [lvlm.base.config.video_token_id, lvlm.base.config.vision_end_token_id]
    lvlm.packing, lvlm._packing_is_checked = "split", True
    first = max({pair[0] for pair in pairs}, key=[pair[0] for pair in pairs].count)
    seconds = [pair[1] for pair in pairs if pair[0] == first]
    with torch.no_grad():
        expected = chances([first])
    common = [int(token) for token in expected.nonzero()[:, 0] if expected[token] * len(seconds) > 5]
    counts = [seconds.count(token) for token in common]
    assert len(tail) and len(common) > 1
    shares = expected[common].double() / expected[common].double().sum()
    assert chisquare(counts, shares.numpy() * sum(counts)).pvalue > 0.01


# Valid answers only ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_graphs", [False, True])
def test_constrained_tokens_equal_those_written_plainly(constrained, slices, shapes, request, with_graphs):
    """Whatever their neighbours, and whether text without a choice is taken in together or, in a graph, one by one."""
    if with_graphs:
        request.getfixturevalue("graphs_on_a_cpu")
    volume = constrained.encode(slices)
    end = constrained.prompts.end_of_turn_id
    choices = constrained._choices_for(volume.num_slices)
    expected = [written_plainly(constrained, volume, query, 80, {end}, ConstrainedAnswer(choices)) for query in QUERIES]
    shapes.clear()
    groups = constrained.generate(volume, QUERIES, num_samples=2)
    assert [[one.ids.tolist() for one in group] for group in groups] == [[ids] * 2 for ids in expected]
    assert all(one.finished and one.entropy > 0 for group in groups for one in group)
    steps, longest = len(shapes) - 1, max(len(ids) for ids in expected)
    assert (steps < longest - 8) if not with_graphs else (steps == pytest.approx(longest, abs=4))


def test_constrained_completions_parse(constrained, slices):
    """Sampled ones too; the seed fixes them."""
    arguments = {"num_samples": 4, "sampling": Sampling(2.0, top_p=0.9)}
    runs = [
        constrained.generate(slices, QUERIES, **arguments, generator=torch.Generator().manual_seed(0)) for _ in range(2)
    ]
    texts = [[one.text for group in run for one in group] for run in runs]
    assert texts[0] == texts[1] and len(set(texts[0])) > 8
    assert all(isinstance(parse_completion(text, len(slices)), EvidenceAnchor) for text in texts[0])
    assert all(isinstance(parse_completion(one.text, 2), EvidenceAnchor)
               for one in constrained.generate(slices[:2], QUERIES[:1], **arguments)[0])  # fmt: skip


def test_the_entropy_is_that_of_the_next_token(folder, slices):
    network = VolumeLVLM(folder, max_new_tokens=1)
    encoded = network.encode(slices)
    ((completion,),) = network.generate(encoded, ["the liver"], sampling=Sampling(temperature=1.0))
    config = network.base.config
    vision = [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]
    # every token of the vocabulary but those as a completion of its own
    tokens = [torch.tensor([token]) for token in range(config.text_config.vocab_size) if token not in vision]
    with torch.no_grad():
        log_probs = torch.cat(network.log_probs(encoded, ["the liver"], [tokens[:600]])[0])
        rest = [
            network.log_probs(encoded, ["the liver"], [tokens[i : i + 600]])[0] for i in range(600, len(tokens), 600)
        ]
    log_probs = torch.cat([log_probs, *chain.from_iterable(rest)]).log_softmax(0)
    assert completion.entropy == pytest.approx(-(log_probs.exp() * log_probs).sum().item(), rel=1e-4)


def test_who_watches_is_told_of_each_token(folder, slices):
    lvlm, told = VolumeLVLM(folder, max_new_tokens=8), []
    ((completion,),) = lvlm.generate(slices, QUERIES[:1], on_text=told.append)
    decoded = [lvlm.prompts.tokenizer.decode(completion.ids[:length]) for length in range(1, 9)]
    assert told == decoded and told[-1] == completion.text
    assert lvlm.generate(slices, QUERIES[:1])[0][0].ids.tolist() == completion.ids.tolist()


def test_who_watches_a_constrained_answer_sees_it_grow(constrained, slices):
    told = []
    ((completion,),) = constrained.generate(slices, QUERIES[:1], on_text=told.append)
    assert len(told) > 5 and told[-1] == completion.text
    assert all(later.startswith(earlier) for earlier, later in pairwise(told))


@pytest.mark.parametrize("model", ["free", "constrained"])
def test_who_watches_can_end_the_writing(folder, constrained, slices, model):
    lvlm, told = VolumeLVLM(folder, max_new_tokens=8) if model == "free" else constrained, []

    def third(text):
        told.append(text)
        if len(told) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        lvlm.generate(slices, QUERIES, on_text=third)
    assert len(told) == 3
    lvlm.generate(slices, QUERIES)  # the model is as it was

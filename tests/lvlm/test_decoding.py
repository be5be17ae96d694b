import copy
import logging
from itertools import chain, pairwise

import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion
from medvol_r1.constrained.token_choices import ConstrainedAnswer
from medvol_r1.lvlm import decoding, encoded_volume, static_sequences
from medvol_r1.lvlm.decoding import KeptSequences, decode
from medvol_r1.lvlm.encoded_volume import hidden_states
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper

QUERIES = ["the organ that secretes bile", "show both kidneys and nothing else", "the liver"]


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


def noting_shapes(monkeypatch):
    """The list that the shape of each call's ids goes to."""
    shapes = []

    def noting(base, ids, positions, **arguments):
        shapes.append(tuple(ids.shape))
        for keys, values in arguments.get("prefix") or ():
            assert len(keys) == len(values) == 1
        return hidden_states(base, ids, positions, **arguments)

    for module in (decoding, encoded_volume, static_sequences):
        monkeypatch.setattr(module, "hidden_states", noting)
    return shapes


def test_prefix_and_queries_are_computed_once_and_the_prefix_is_never_repeated(folder, slices, monkeypatch):
    shapes = noting_shapes(monkeypatch)
    lvlm = VolumeLVLM(folder, max_new_tokens=3)
    volume = lvlm.encode(slices)
    lvlm.generate(volume, QUERIES, num_samples=2)
    tail = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES)
    assert shapes == [(1, len(volume.prefix_ids)), (3, tail), (6, 1), (6, 1)]
    shapes.clear()
    lvlm.generate(volume, QUERIES[:1])  # a later query: the prefix is there
    assert shapes == [(1, len(lvlm.prompts.tail_ids(QUERIES[0]))), (1, 1), (1, 1)]


# Static keys and values, graphs --------------------------------------------------------------------------------------


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
    monkeypatch.setattr(decoding, "_MAX_DECODED_TOGETHER", 512)
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


def test_graphs_are_kept_for_a_shape_and_dropped_with_it(folder, slices, graphs_on_a_cpu):
    lvlm = VolumeLVLM(folder, max_new_tokens=12)
    lvlm.generate(slices, QUERIES)
    lvlm.generate(slices.flip(0), QUERIES[:2])  # fewer rows find their graph, or make it, in the same buffers
    lvlm.generate(slices, QUERIES)
    kept = lvlm._kept_sequences._sequences
    assert len(graphs_on_a_cpu) == 2 and kept.capacity == 4
    lvlm.generate(slices[:2], QUERIES)  # a shorter prefix
    assert lvlm._kept_sequences._sequences is not kept and len(graphs_on_a_cpu) == 3
    kept = lvlm._kept_sequences._sequences
    lvlm.add_lora(rank=4, alpha=8).generate(slices[:2], QUERIES)  # other weights
    assert lvlm._kept_sequences._sequences is not kept
    assert copy.deepcopy(lvlm)._kept_sequences._sequences is None


def test_more_sequences_than_memory_holds_are_fewer_at_a_time(folder, slices, monkeypatch, caplog):
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    sampling, shapes = Sampling(1.0), noting_shapes(monkeypatch)
    lvlm.generate(slices, QUERIES, num_samples=2, sampling=sampling)
    assert max(shapes[2:]) == (6, 1) and not caplog.records
    text = lvlm.base.config.text_config
    tokens = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES) + 8
    size = 8 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * tokens + 24 * text.vocab_size
    monkeypatch.setattr(decoding, "_BYTES_ON_CPU", 2.5 * size)
    shapes.clear()
    with caplog.at_level(logging.WARNING):
        groups = lvlm.generate(slices, QUERIES, num_samples=2, sampling=sampling)
    assert [len(group) for group in groups] == [2, 2, 2]
    assert max(shape for shape in shapes if shape[1] == 1) == (2, 1)
    assert "6 completions" in caplog.text and "they are written 2 at a time" in caplog.text


# Valid answers only ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def constrained(folder):
    """Of this random network none of the answers is valid by itself."""
    return VolumeLVLM(folder, max_new_tokens=80, constrained=True)


@pytest.mark.parametrize("with_graphs", [False, True])
def test_constrained_tokens_equal_those_written_plainly(constrained, slices, request, monkeypatch, with_graphs):
    """Whatever their neighbours, and whether text without a choice is taken in together or, in a graph, one by one."""
    shapes = noting_shapes(monkeypatch)
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


def test_what_is_not_a_form_or_cannot_be_constrained_is_refused(folder):
    with pytest.raises(ValueError, match='constrained writes answers of the form "boxes", and answer_form is .image.'):
        VolumeLVLM(folder, constrained=True, answer_form="image")
    with pytest.raises(ValueError, match="answer_form is 'points'; legal are boxes, boxes_and_points, image"):
        VolumeLVLM(folder, answer_form="points")


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


def test_runs_of_unequal_lengths_find_room(constrained, slices, monkeypatch):
    """Gaps between them use the buffers up; then tokens are taken in one by one, and are the same."""
    make = static_sequences.StaticSequences

    def without_gaps(base, prefix, capacity, length, *arguments):
        return make(base, prefix, capacity, length - 80, *arguments)

    steps, answers, shapes = [], [], noting_shapes(monkeypatch)
    for made in (make, without_gaps):
        monkeypatch.setattr(decoding, "StaticSequences", made)
        shapes.clear()
        answers.append([group[0].ids.tolist() for group in constrained.generate(slices, QUERIES)])
        steps.append(len(shapes))
    assert answers[0] == answers[1] and steps[0] < steps[1]


def test_a_limit_without_room_for_an_answer_is_told_when_the_weights_are_read(folder):
    with pytest.raises(ValueError, match="max_new_tokens is 12, but with `constrained`.*or `constrained` false"):
        VolumeLVLM(folder, max_new_tokens=12, constrained=True).load()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_constrained_tokens_of_a_graph_equal_those_without(folder, slices):
    lvlm = VolumeLVLM(folder, max_new_tokens=80, constrained=True).to("cuda")
    volume = lvlm.encode(slices)
    arguments = (lvlm.base, lvlm.prompts.tokenizer, volume, lvlm._tails(QUERIES, volume), 2, Sampling(), 80)
    kept, choices = KeptSequences(), lvlm._choices_for(3)
    plain, graph = (decode(*arguments, kept=there, choices=choices) for there in (None, kept))
    ids = [[[one.ids.tolist() for one in group] for group in groups] for groups in (plain, graph)]
    assert ids[0] == ids[1] and kept._sequences.graphs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("adapter", [False, True])
def test_tokens_of_a_graph_equal_those_without(folder, adapter):
    lvlm = VolumeLVLM(folder, max_new_tokens=40).to("cuda")
    if adapter:
        lvlm.add_lora(rank=4, alpha=8)
    kept = KeptSequences()
    for seed in range(3):
        volume = lvlm.encode(torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(seed)))
        tails = lvlm._tails(QUERIES, volume)
        arguments = (lvlm.base, lvlm.prompts.tokenizer, volume, tails, 4)
        plain, graph = (decode(*arguments, Sampling(), 40, kept=there) for there in (None, kept))
        for expected, found in zip(plain, graph, strict=True):
            assert [one.ids.tolist() for one in found] == [one.ids.tolist() for one in expected]
        for sampling in (Sampling(1.0), Sampling(0.9, top_p=0.9, top_k=50)):
            runs = [
                decode(*arguments, sampling, 40, torch.Generator("cuda").manual_seed(5), kept=kept) for _ in range(2)
            ]
            texts = [[one.text for group in run for one in group] for run in runs]
            assert texts[0] == texts[1] and len(set(texts[0])) > 3
    assert kept._sequences.graphs


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

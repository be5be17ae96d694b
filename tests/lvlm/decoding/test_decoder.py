"""Many sequences behind one prefix: what is computed once, what does not depend on what, graphs that are kept."""

import copy

import pytest
import torch
from medvol_r1.lvlm.decoding import decoder, memory, static_sequences
from medvol_r1.lvlm.decoding.decoder import Decoder, KeptSequences, decode
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling

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
    monkeypatch.setattr(memory, "_MAX_DECODED_TOGETHER", together)
    groups = lvlm.generate(slices, QUERIES, num_samples=3)
    assert [[completion.ids.tolist() for completion in group] for group in groups] == [[ids] * 3 for ids in alone]
    assert lvlm.generate(slices, []) == []


def test_prefix_and_queries_are_computed_once_and_the_prefix_is_never_repeated(folder, slices, shapes):
    lvlm = VolumeLVLM(folder, max_new_tokens=3)
    volume = lvlm.encode(slices)
    lvlm.generate(volume, QUERIES, num_samples=2)
    tail = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES)
    assert shapes == [(1, len(volume.prefix_ids)), (3, tail), (6, 1), (6, 1)]
    shapes.clear()
    lvlm.generate(volume, QUERIES[:1])  # a later query: the prefix is there
    assert shapes == [(1, len(lvlm.prompts.tail_ids(QUERIES[0]))), (1, 1), (1, 1)]


# Static keys and values, graphs --------------------------------------------------------------------------------------


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


def test_runs_of_unequal_lengths_find_room(constrained, slices, shapes, monkeypatch):
    """Gaps between them use the buffers up; then tokens are taken in one by one, and are the same."""
    make = static_sequences.StaticSequences

    def without_gaps(base, prefix, capacity, length, *arguments):
        return make(base, prefix, capacity, length - 80, *arguments)

    steps, answers = [], []
    for made in (make, without_gaps):
        monkeypatch.setattr(decoder, "StaticSequences", made)
        shapes.clear()
        answers.append([group[0].ids.tolist() for group in constrained.generate(slices, QUERIES)])
        steps.append(len(shapes))
    assert answers[0] == answers[1] and steps[0] < steps[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_constrained_tokens_of_a_graph_equal_those_without(folder, slices):
    lvlm = VolumeLVLM(folder, max_new_tokens=80, constrained=True).to("cuda")
    volume = lvlm.encode(slices)
    arguments = (lvlm.base, lvlm.prompts.tokenizer, Sampling(), 80)
    kept, choices = KeptSequences(), lvlm._choices_for(3)
    plain, graph = (
        decode(Decoder(*arguments, kept=there, choices=choices), volume, lvlm._tails(QUERIES, volume), 2)
        for there in (None, kept)
    )
    ids = [[[one.ids.tolist() for one in group] for group in groups] for groups in (plain, graph)]
    assert ids[0] == ids[1] and kept._sequences.graphs


def _decoded(lvlm, volume, tails, sampling, **options):
    return decode(Decoder(lvlm.base, lvlm.prompts.tokenizer, sampling, 40, **options), volume, tails, 4)


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
        plain, graph = (_decoded(lvlm, volume, tails, Sampling(), kept=there) for there in (None, kept))
        for expected, found in zip(plain, graph, strict=True):
            assert [one.ids.tolist() for one in found] == [one.ids.tolist() for one in expected]
        for sampling in (Sampling(1.0), Sampling(0.9, top_p=0.9, top_k=50)):
            runs = [
                _decoded(lvlm, volume, tails, sampling, generator=torch.Generator("cuda").manual_seed(5), kept=kept)
                for _ in range(2)
            ]
            texts = [[one.text for group in run for one in group] for run in runs]
            assert texts[0] == texts[1] and len(set(texts[0])) > 3
    assert kept._sequences.graphs

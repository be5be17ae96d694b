"""Sequences that grow in place: their buffers, which of them go on, and what happens without a graph."""

import pytest
import torch
from medvol_r1.lvlm.decoding import decoder, static_sequences
from medvol_r1.lvlm.decoding.static_sequences import StaticSequences, left_padded
from medvol_r1.lvlm.decoding.writing import begin
from medvol_r1.lvlm.encoded_volume import prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling

QUERIES = ["the organ that secretes bile", "show both kidneys and nothing else", "the liver"]


def test_what_cannot_be_captured_goes_on_without(folder, slices, monkeypatch):
    def captured(rehearse, advance):
        rehearse()
        advance()  # what a capture left undone must not show
        raise RuntimeError("operation not permitted when stream is capturing")

    lvlm = VolumeLVLM(folder, max_new_tokens=12)
    expected = [[one.ids.tolist() for one in group] for group in lvlm.generate(slices, QUERIES, num_samples=3)]
    monkeypatch.setattr(static_sequences, "captured", captured)
    monkeypatch.setattr(decoder, "has_graphs", lambda device: True)
    with pytest.warns(RuntimeWarning, match="could not be captured as a CUDA graph.*not permitted"):
        groups = lvlm.generate(slices, QUERIES, num_samples=3)
    assert [[one.ids.tolist() for one in group] for group in groups] == expected


def test_memory_of_the_buffers(folder, slices, graphs_on_a_cpu):
    """3 queries make 4 rows; 64 tokens; 3 layers of 2 heads of 24 numbers (hidden 96 / 4 heads), keys and values."""
    lvlm = VolumeLVLM(folder, max_new_tokens=12)
    lvlm.generate(slices, QUERIES, sampling=Sampling(1.0))
    kept = lvlm._kept_sequences._sequences
    text = lvlm.base.config.text_config
    own = 4 * 64 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 2 * 4
    assert kept.length == 64 and sum(one.nbytes for layer in kept.own for one in layer) == own
    assert kept.logits.nbytes == kept.noise.nbytes == 4 * text.vocab_size * 4
    others = sum(value.nbytes for value in vars(kept).values() if isinstance(value, torch.Tensor))
    assert others - 2 * kept.logits.nbytes < 4 * (64 + 8 * 12 + 64) + 1000


def sequences_of(lvlm, volume, capacity, graphs=False):
    none = torch.tensor([], dtype=torch.long)
    prefix = prefilled(lvlm.base, volume)
    return StaticSequences(lvlm.base, prefix, capacity, 32, 8, Sampling(), none, none, graphs)


def test_fewer_rows_are_worth_it_where_they_are_a_smaller_computation(folder, slices):
    lvlm = VolumeLVLM(folder)
    volume = lvlm.encode(slices)
    plain, graph = (sequences_of(lvlm, volume, 48, graphs) for graphs in (False, True))
    plain.count = graph.count = 40
    assert (plain.rows, graph.rows) == (40, 48)  # 64, but no more than there are
    assert plain.worth_shrinking(39) and not plain.worth_shrinking(40)
    assert graph.worth_shrinking(32) and not graph.worth_shrinking(33)
    graph.count = 8
    assert graph.rows == 8 and not graph.worth_shrinking(1)  # eight rows cost what one does


@torch.no_grad()
def test_those_that_are_kept_go_on_as_before(folder, slices):
    """Of three sequences the last and the first go on, in that order: the same tokens at the same positions."""
    lvlm = VolumeLVLM(folder)
    volume = lvlm.encode(slices)
    written = []
    for kept in ([0, 1, 2], [2, 0]):
        sequences = sequences_of(lvlm, volume, 3)
        ids, present = left_padded([torch.tensor(lvlm.prompts.tail_ids(query)) for query in QUERIES])
        first = int(volume.position_ids.max()) + 1
        logits = begin(sequences, sequences.prefix, first, ids, present, torch.arange(3))
        sequences.choose(logits, None)
        sequences.advance(None)
        sequences.keep(torch.tensor(kept))
        for _ in range(4):
            sequences.advance(None)
        assert sequences.count == len(kept) and sequences.number[: len(kept)].tolist() == [6] * len(kept)
        written.append(sequences.written[: len(kept), :6].tolist())
    everyone, two = written
    assert two == [everyone[2], everyone[0]] and everyone[0] != everyone[2]

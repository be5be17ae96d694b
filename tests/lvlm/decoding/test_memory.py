"""How many sequences and volumes are decoded at a time."""

import logging

from medvol_r1.lvlm.decoding import memory
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling

QUERIES = ["the organ that secretes bile", "show both kidneys and nothing else", "the liver"]


def test_more_sequences_than_memory_holds_are_fewer_at_a_time(folder, slices, shapes, monkeypatch, caplog):
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    sampling = Sampling(1.0)
    lvlm.generate(slices, QUERIES, num_samples=2, sampling=sampling)
    assert max(shapes[2:]) == (6, 1) and not caplog.records
    text = lvlm.base.config.text_config
    tokens = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES) + 8
    size = 8 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * tokens + 24 * text.vocab_size
    monkeypatch.setattr(memory, "_BYTES_ON_CPU", 2.5 * size)
    shapes.clear()
    with caplog.at_level(logging.WARNING):
        groups = lvlm.generate(slices, QUERIES, num_samples=2, sampling=sampling)
    assert [len(group) for group in groups] == [2, 2, 2]
    assert max(shape for shape in shapes if shape[1] == 1) == (2, 1)
    assert "6 completions" in caplog.text and "they are written 2 at a time" in caplog.text

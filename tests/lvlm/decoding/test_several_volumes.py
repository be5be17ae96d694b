"""Completions of several volumes that are written together, against one volume at a time."""

from collections import Counter

import pytest
import torch
from medvol_r1.lvlm.decoding import Decoder
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling

QUERIES = [f"the organ {'that secretes bile ' * (n % 3)}number {n}" for n in range(10)]


def volumes_of(*counts):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 32, 48, generator=generator) for count in counts]


def ids_of(groups):
    return [[[one.ids.tolist() for one in of_query] for of_query in of_volume] for of_volume in groups]


def ending_early(lvlm, volumes):
    """Greedy completions of many lengths: a token that few of them have ends one."""
    lvlm.load()
    lvlm.prompts.tokenizer.eos_token = lvlm.base.generation_config.eos_token_id = None
    written = [query[0].ids.tolist() for one in volumes for query in lvlm.generate(one, QUERIES)]
    seen = Counter(token for ids in written for token in set(ids))
    lvlm.base.generation_config.eos_token_id = sorted(token for token, count in seen.items() if count <= 4)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("together", [128, 24])
def test_greedy_tokens_are_those_of_one_volume_at_a_time(folder, monkeypatch, request, together, graphs):
    """Up to 10 queries of 3 volumes and of one of another size, G = 4; 24 sequences are less than those of a volume."""
    if graphs:
        request.getfixturevalue("graphs_on_a_cpu")
    lvlm = VolumeLVLM(folder, max_new_tokens=20)
    volumes = volumes_of(3, 3, 3, 2)
    texts = [QUERIES, QUERIES[:7], QUERIES[3:], QUERIES[:2]]
    ending_early(lvlm, volumes)
    expected = [lvlm.generate(one, of, num_samples=4) for one, of in zip(volumes, texts, strict=True)]
    assert len({len(ids) for groups in ids_of(expected) for (ids, *_) in groups}) > 4
    monkeypatch.setattr("medvol_r1.lvlm.decoding.memory._MAX_DECODED_TOGETHER", together)
    sizes = noted_rows(monkeypatch)
    found = lvlm.generate_many(volumes, texts, num_samples=4)
    assert ids_of(found) == ids_of(expected)
    finished, entropies = (
        [[getattr(one, name) for groups in by for query in groups for one in query] for by in (found, expected)]
        for name in ("finished", "entropy")
    )
    assert finished[0] == finished[1] and set(finished[0]) == {True, False}
    assert entropies[0] == pytest.approx(entropies[1], abs=1e-4)
    # 3 x 40 rows; with graphs 64 behind each prefix, so that 128 sequences are those of two volumes.
    assert sizes == [[120, 8], [128, 28, 8]][graphs] if together == 128 else max(sizes) == 24


def noted_rows(monkeypatch):
    """How many sequences are begun with."""
    sizes, complete = [], Decoder.complete

    def noting(self, prefix, first_position, tails, copies, *arguments):
        sizes.append(len(copies))
        return complete(self, prefix, first_position, tails, copies, *arguments)

    monkeypatch.setattr(Decoder, "complete", noting)
    return sizes


def test_draws_of_several_volumes_are_those_of_the_seed(folder):
    lvlm = VolumeLVLM(folder, max_new_tokens=12)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        options = {"num_samples": 3, "sampling": Sampling(1.0), "generator": generator}
        return ids_of(lvlm.generate_many(volumes_of(3, 3), [QUERIES[:2], QUERIES[:3]], **options))

    first = drawn(0)
    assert first == drawn(0) != drawn(1)
    assert [[len(query) for query in groups] for groups in first] == [[3, 3], [3, 3, 3]]
    assert len({str(ids) for groups in first for query in groups for ids in query}) > 10


def test_volumes_share_a_batch_as_memory_allows(folder, monkeypatch):
    """A volume's 4 sequences and its prefix take so much; two and a half of that are two volumes."""
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    volumes, texts = volumes_of(3, 3, 3), [QUERIES[:2]] * 3
    expected = ids_of([lvlm.generate(one, QUERIES[:2], num_samples=2) for one in volumes])
    text = lvlm.base.config.text_config
    number_bytes = text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 2 * 4
    length = max(len(lvlm.prompts.tail_ids(query)) for query in QUERIES[:2]) + 8
    prefix = len(lvlm.encode(volumes[0]).prefix_ids)
    size = number_bytes * (prefix + 4 * length) + 4 * 6 * 4 * text.vocab_size
    sizes = noted_rows(monkeypatch)
    for limit, rows in ((2.5 * size, [8, 4]), (1.5 * size, [4, 4, 4]), (10 * size, [12])):
        sizes.clear()
        monkeypatch.setattr("medvol_r1.lvlm.decoding.memory._BYTES_ON_CPU", limit)
        assert ids_of(lvlm.generate_many(volumes, texts, num_samples=2)) == expected
        assert sizes == rows

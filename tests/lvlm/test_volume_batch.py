"""Several volumes in one forward, against one volume at a time."""

from collections import Counter

import pytest
import torch
from medvol_r1.lvlm.decoding import Decoder
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.lvlm.volume_batch import pack_queries
from tiny_models import save_random_lvlm

TEXTS = [["the liver"], ["show both kidneys", "the organ that secretes bile", "the liver"]]
QUERIES = [f"the organ {'that secretes bile ' * (n % 3)}number {n}" for n in range(10)]
LENGTHS = [[(5, 2)], [(7, 3), (4,), (9, 1, 6)]]  # of the completions of each query


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory):
    return VolumeLVLM(str(save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=3.0))).unfreeze()


@pytest.fixture(scope="module")
def completions():
    generator = torch.Generator().manual_seed(1)
    return [
        [[torch.randint(20, 1000, (n,), generator=generator).tolist() for n in answers] for answers in of_volume]
        for of_volume in LENGTHS
    ]


def volumes_of(*counts):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 32, 48, generator=generator) for count in counts]


def one_by_one(lvlm, volumes, completions):
    found = []
    for slices, texts, answers in zip(volumes, TEXTS, completions, strict=True):
        as_tensors = [[torch.tensor(ids) for ids in of_query] for of_query in answers]
        found += [one for of_query in lvlm.log_probs(lvlm.encode(slices), texts, as_tensors) for one in of_query]
    return torch.cat(found)


def packed(lvlm, completions):
    return pack_queries(
        [
            [(lvlm.prompts.tail_ids(text), answers) for text, answers in zip(texts, of_volume, strict=True)]
            for texts, of_volume in zip(TEXTS, completions, strict=True)
        ]
    )


def gradients(lvlm):
    return {name: weight.grad.clone() for name, weight in lvlm.named_parameters() if weight.grad is not None}


def test_log_probs_and_gradients_are_those_of_one_volume_at_a_time(lvlm, completions):
    volumes = volumes_of(3, 3)
    expected = one_by_one(lvlm, volumes, completions)
    lvlm.zero_grad()
    expected.sum().backward()
    expected_gradients = gradients(lvlm)

    found = lvlm.batch_log_probs(lvlm.encode_many(volumes), packed(lvlm, completions))
    lvlm.zero_grad()
    found.sum().backward()

    assert found.shape == (5 + 2 + 7 + 3 + 4 + 9 + 1 + 6,)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    assert gradients(lvlm).keys() == expected_gradients.keys()
    for name, gradient in gradients(lvlm).items():
        scale = expected_gradients[name].abs().max()
        assert (gradient - expected_gradients[name]).abs().max() <= 1e-4 * scale + 1e-6, name


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
    monkeypatch.setattr("medvol_r1.lvlm.decoding._MAX_DECODED_TOGETHER", together)
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
        monkeypatch.setattr("medvol_r1.lvlm.decoding._BYTES_ON_CPU", limit)
        assert ids_of(lvlm.generate_many(volumes, texts, num_samples=2)) == expected
        assert sizes == rows


def test_volumes_of_several_lengths_do_not_share_a_batch(lvlm, completions):
    with pytest.raises(ValueError, match=r"as many slices each, got \[3, 2\]"):
        lvlm.batch_log_probs(lvlm.encode_many(volumes_of(3, 2)), packed(lvlm, completions))


def test_what_a_packed_token_sees():
    # Volume 0: query (1, 2) with completions (3, 4) and (5); volume 1: queries (6) and (7), a completion (8) each.
    two = pack_queries([[([1, 2], [[3, 4], [5]])], [([6], [[8]]), ([7], [[8]])]])
    assert two.ids.tolist() == [[1, 2, 3, 4, 5], [6, 8, 7, 8, 0]]
    assert two.position.tolist() == [[0, 1, 2, 3, 2], [0, 1, 0, 1, 0]]
    assert two.targets.tolist() == [3, 4, 5, 8, 8]
    assert two.predicted_by.tolist() == [1, 2, 1, 5, 7]
    seen = two.mask(num_prefix=1)[:, 0]
    assert seen[..., 0].all()
    assert seen[0, :, 1:].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert seen[1, :4, 1:].int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]

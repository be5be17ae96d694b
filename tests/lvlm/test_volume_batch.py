"""Several volumes in one forward, against one volume at a time."""

import pytest
import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.volume_batch import pack_queries
from tiny_models import save_random_lvlm

TEXTS = [["the liver"], ["show both kidneys", "the organ that secretes bile", "the liver"]]
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

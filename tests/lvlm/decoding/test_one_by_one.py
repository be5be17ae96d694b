"""Completions without a shared prefix; their tokens are compared with transformers' in test_architecture.py."""

import pytest
import torch
from medvol_r1.lvlm.decoding.decoder import Decoder, decode
from medvol_r1.lvlm.decoding.one_by_one import decode_one_by_one
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling


@pytest.fixture
def volume_and_tails(folder, slices):
    lvlm = VolumeLVLM(folder).load()
    return lvlm, lvlm.encode(slices), [torch.tensor(lvlm.prompts.tail_ids(query)) for query in ("the liver", "both")]


def test_a_model_that_can_share_its_prefix_writes_the_same_without(volume_and_tails):
    lvlm, volume, tails = volume_and_tails
    watched = []
    decoder = Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(), 8, on_text=watched.append)
    alone = decode_one_by_one(decoder, volume, tails, 1)
    shared = decode(Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(), 8), volume, tails, 1)
    for (one,), (other,) in zip(alone, shared, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and (one.text, one.finished) == (other.text, other.finished)
        assert one.entropy == pytest.approx(other.entropy, abs=1e-3)
    assert watched[len(alone[0][0].ids) - 1] == alone[0][0].text


def test_sampling_is_reproducible(volume_and_tails):
    lvlm, volume, tails = volume_and_tails
    texts = []
    for seed in (5, 5, 6):
        generator = torch.Generator().manual_seed(seed)
        decoder = Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(temperature=1.0, top_k=50), 6, generator)
        texts.append([one.text for one in decode_one_by_one(decoder, volume, tails[:1], 2)[0]])
    assert texts[0] == texts[1] != texts[2] and texts[0][0] != texts[0][1]


def test_it_stops_behind_the_end_token(volume_and_tails):
    lvlm, volume, tails = volume_and_tails
    first = decode_one_by_one(Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(), 1), volume, tails[:1], 1)[0][0]
    lvlm.base.generation_config.eos_token_id = int(first.ids[0])
    stopped = decode_one_by_one(Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(), 8), volume, tails[:1], 1)[0][0]
    assert stopped.finished and stopped.ids.tolist() == first.ids.tolist() and stopped.text == ""

"""Rows for TRL's trainer: what they hold, that a volume is made once, and what is refused."""

import numpy as np
import pytest
import torch
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.demo_models.tiny_lvlm import build_tokenizer
from medvol_r1.lvlm.prompts import PromptBuilder
from medvol_r1.training.trl_dataset import trl_dataset
from tiny_models import TEXTS


class Volumes(list):
    """A list that counts how often an item was made."""

    made = 0

    def __getitem__(self, index):
        self.made += 1
        return super().__getitem__(index)


def volume(case, num_queries=1):
    return VolumeQueries(
        case=case,
        slices=torch.tensor([0.0, 0.4, 1.0]).repeat(2, 3, 1),
        texts=("the liver",) * num_queries,
        targets=("liver",) * num_queries,
        masks=torch.eye(3, dtype=torch.bool).expand(num_queries, 2, 3, 3),
        completions=("",) * num_queries,
    )


@pytest.fixture(scope="module")
def prompts():
    return PromptBuilder(build_tokenizer(TEXTS, vocabulary_size=2500))


def test_a_row_holds_the_prompt_the_slices_as_images_and_what_rewards_read(prompts):
    row = trl_dataset([volume("a")], prompts)[0]
    assert row["prompt"] == prompts.messages(2, "the liver")
    assert len(row["images"]) == 2
    pixels = np.asarray(row["images"][0])
    assert pixels.shape == (3, 3, 3) and pixels[1].tolist() == [[0] * 3, [102] * 3, [255] * 3]  # 0.4 * 255 = 102
    assert row["masks"].dtype == bool and row["masks"].tolist() == [np.eye(3).tolist()] * 2
    assert row["slices"].dtype == np.float32 and row["slices"].shape == (2, 3, 3)


def test_the_channels_of_a_model_with_three_windows(prompts):
    row = trl_dataset([volume("a")], prompts, channel_ranges=[[0.0, 1.0], [0.0, 0.5], [0.4, 0.8]])[0]
    # 0.4 in 0..1, in 0..0.5 and in 0.4..0.8
    assert np.asarray(row["images"][0])[0].tolist() == [[0, 0, 0], [102, 204, 0], [255, 255, 255]]


def test_the_completions_of_a_volume_share_its_row_and_a_batch_read_again_makes_nothing(prompts):
    volumes = Volumes([volume("a"), volume("b")])
    dataset = trl_dataset(volumes, prompts)
    batch = dataset.__getitems__([1, 1, 1, 0, 0, 0])
    assert len({id(row["slices"]) for row in batch}) == len({id(row["masks"]) for row in batch}) == 2
    assert batch[0]["slices"] is batch[2]["slices"] and volumes.made == 2
    dataset.__getitems__([1, 1, 1, 0, 0, 0])
    assert volumes.made == 2


def test_no_volumes(prompts):
    with pytest.raises(ValueError, match="no volumes to train on.*`train_dataset`"):
        trl_dataset([], prompts)


def test_several_queries_of_a_volume(prompts):
    with pytest.raises(ValueError, match="^b has 2 queries; .* set the config key `queries_per_volume` to 1"):
        trl_dataset([volume("a"), volume("b", num_queries=2)], prompts)[1]


def test_a_query_that_encodes_to_a_special_token():
    tokenizer = build_tokenizer(TEXTS, vocabulary_size=2500)
    tokenizer.add_tokens(["l"], special_tokens=True)
    with pytest.raises(ValueError, match="'the liver' encodes to added tokens"):
        trl_dataset([volume("a")], PromptBuilder(tokenizer))[0]

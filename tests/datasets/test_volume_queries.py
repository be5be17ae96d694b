"""A volume with its queries."""

import numpy as np
import pytest
import torch
from medvol_r1.datasets.volume_queries import VolumeQueries, collate_volumes, with_sft_answers
from medvol_r1.queries.bank import Query


def volume(queries=2, **changes):
    each = {"texts": ("q",) * queries, "targets": ("t",) * queries, "completions": ("c",) * queries}
    masks = torch.zeros(queries, 3, 4, 5, dtype=torch.bool)
    return VolumeQueries(**({"case": "a", "slices": torch.zeros(3, 4, 5), "masks": masks} | each | changes))


def test_each_query_has_its_target_mask_and_completion():
    assert len(volume().texts) == 2
    for changes in (
        {"texts": ("q",)},
        {"targets": ()},
        {"completions": ("c",) * 3},
        {"masks": torch.zeros(1, 3, 4, 5)},
    ):
        with pytest.raises(ValueError, match="a: need one target, mask and completion for each of at least one query"):
            volume(**changes)
    with pytest.raises(ValueError, match="at least one query"):
        volume(0)


def test_a_batch_is_a_list():
    items = (volume(1), volume(3))
    assert collate_volumes(items) == list(items)


def test_answers_are_made_of_the_masks():
    """Slice 2 of 3 shows columns 2..5 and rows 1..3 of 10 x 10; what the second query asks for is absent."""
    label = np.zeros((3, 10, 10), dtype=np.uint8)
    label[1, 1:3, 2:5] = 2
    query = Query("D1", "kidney_with:cyst", "none", "D", 1, "", "train", "D1", "the kidney with the cyst")
    sampled = [(query, label == 2), (query, label == 7)]
    slices, rng = torch.zeros(3, 10, 10), np.random.default_rng(0)
    item = with_sft_answers("a", slices, sampled, label, {2: "right kidney"}, rng, top_k=4)
    assert item.targets == ("right kidney", "kidney") and item.slices is slices
    assert torch.equal(item.masks, torch.from_numpy(np.stack([label == 2, label == 7])))
    shown, absent = item.completions
    assert shown.endswith('<answer>{"key_slice": 2, "bbox_2d_list": [[200, 100, 500, 300]]}</answer>')
    assert "right kidney" in shown and absent.startswith("<think>The kidney is not in these slices.</think>")
    silent = with_sft_answers("a", slices, sampled, label, {2: "right kidney"}, rng, top_k=4, think=False)
    assert silent.completions[0] == shown.replace(shown[7 : shown.index("</think>")], "")

"""A volume with its queries."""

import pytest
import torch
from medvol_r1.datasets.volume_queries import VolumeQueries, collate_volumes


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

"""What the steps keep of the way that an object has gone. Their numbers are checked by tests of the driver."""

from types import SimpleNamespace

import pytest
import torch
from medvol_r1.medsam2.steps import Memory, followed_by


def walked(num_slices, steps, num_maskmem=7, most_pointers=16):
    """Numbers of the slices behind the key slice whose features and whose pointers are kept after some steps."""
    config = SimpleNamespace(max_object_pointers_in_encoder=most_pointers)
    model = SimpleNamespace(num_maskmem=num_maskmem, config=config)
    tracked = []
    for step in range(1, steps + 1):
        newest = Memory(torch.full((4, 2, 3), step), torch.full((2, 5), step))
        tracked = followed_by(model, tracked, newest, num_slices)
    features = [int(memory.features[0, 0, 0]) for memory in tracked if memory.features is not None]
    return features, [int(memory.pointer[0, 0]) for memory in tracked]


@pytest.mark.parametrize(
    ("arguments", "features", "pointers"),
    [
        ({"num_slices": 64, "steps": 1}, [1], [1]),
        ({"num_slices": 64, "steps": 6}, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        ({"num_slices": 64, "steps": 20}, [15, 16, 17, 18, 19, 20], list(range(6, 21))),  # 7 - 1 and 16 - 1
        ({"num_slices": 9, "steps": 8}, [3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8]),  # 9 slices: 9 - 1 pointers
        ({"num_slices": 64, "steps": 9, "most_pointers": 3}, [4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9]),
        ({"num_slices": 64, "steps": 4, "num_maskmem": 1, "most_pointers": 1}, [], []),
    ],
)
def test_what_is_read_is_kept(arguments, features, pointers):
    assert walked(**arguments) == (features, pointers)


def test_memories_of_some_objects():
    memory = Memory(torch.arange(24).reshape(4, 2, 3), torch.arange(10).reshape(2, 5))
    index = torch.tensor([1, 1, 0])
    taken = memory.take(index)
    assert torch.equal(taken.features, memory.features[:, [1, 1, 0]])
    assert torch.equal(taken.pointer, memory.pointer[[1, 1, 0]])
    without = memory._replace(features=None).take(index)
    assert without.features is None and torch.equal(without.pointer, taken.pointer)

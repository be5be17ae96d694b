import pytest
import torch
from medvol_r1.lvlm.shared_prefix import PREFIX, pack_tree, shared_beginnings

PREFIX_IDS = torch.tensor([10, 11, 12])
POSITIONS = torch.tensor([[0, 1, 1], [0, 1, 2], [0, 1, 2]])  # next position: 3


def test_golden_tree():
    #  prefix 10 11 12 | query 20 21 | answer a 30 (behind the query) | answer b 40 41 (behind the query) | query' 50
    branches = [(PREFIX, [20, 21]), (0, [30]), (0, [40, 41]), (PREFIX, [50])]
    tree = pack_tree(PREFIX_IDS, POSITIONS, [(parent, torch.tensor(ids)) for parent, ids in branches])
    assert tree.ids.tolist() == [10, 11, 12, 20, 21, 30, 40, 41, 50]
    assert tree.position_ids[0].tolist() == [0, 1, 1, 3, 4, 5, 5, 6, 3]
    assert tree.position_ids[1].tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 3]
    assert [index.tolist() for index in tree.predicted_by] == [[2, 3], [4], [4, 6], [2]]
    rows = ["".join("x" if seen else "." for seen in row) for row in tree.dense_mask()[0, 0].tolist()]
    assert rows == [
        "x........",
        "xx.......",
        "xxx......",
        "xxxx.....",
        "xxxxx....",
        "xxxxxx...",  # answer a sees prefix, query, itself
        "xxxxx.x..",  # answer b does not see answer a
        "xxxxx.xx.",
        "xxx.....x",  # the other query sees the prefix alone
    ]


@pytest.mark.parametrize(
    "branches",
    [
        [(0, [1])],
        [(PREFIX, [1]), (2, [1])],
        [(-2, [1])],
        [(PREFIX, [])],
        [(PREFIX, [1]), (PREFIX, [2]), (0, [3])],  # behind the older tree
    ],
)
def test_bad_branches(branches):
    with pytest.raises(ValueError, match="must be -1"):
        pack_tree(PREFIX_IDS, POSITIONS, [(parent, torch.tensor(ids)) for parent, ids in branches])


@pytest.mark.parametrize("seed", range(5))
def test_paths_of_shared_beginnings_spell_the_completions(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (8,), generator=generator).tolist()
    completions = [torch.randint(0, 2, (length,), generator=generator).tolist() for length in lengths]
    branches, paths = shared_beginnings(completions, parent=3, first=4)
    for completion, path in zip(completions, paths, strict=True):
        assert sum((branches[index - 4][1] for index in path), []) == completion
        assert [branches[index - 4][0] for index in path] == [3, *path[:-1]]
    # No token stands twice: no two branches of one parent begin alike.
    begins = [(parent, ids[0]) for parent, ids in branches]
    assert len(set(begins)) == len(begins)


def test_an_empty_completion():
    with pytest.raises(ValueError, match="A completion is empty"):
        shared_beginnings([[1], []], parent=0, first=1)

"""Many branches behind one prefix, in one sequence.

The prompt of a volume (S slices of visual tokens) is many times longer than a query or a completion, and it is the
same for all of them. So it is computed once: one sequence holds the prefix and then every branch; a branch attends to
its own ancestors only, and its positions start where its parent's end, as if it stood alone behind it.

    prefix --+-- query 1 --+-- completion 1.1
             |             +-- completion 1.2
             +-- query 2 ----- completion 2.1

Completions of a query begin alike (the form of an answer, often the slice), and what is common is computed once too:
a branch then is a stretch of tokens that some completions share (`shared_beginnings`).

The token log-probabilities are equal to those of the separate sequences (tests: 1e-9 in float64).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .split_attention import BranchMask

PREFIX = -1
"""The parent of a branch that stands directly behind the prefix."""

# Branches share a call of the attention up to this many tokens. More: most pairs are computed and then masked. Fewer:
# many small calls.
_TOKENS_OF_A_RUN = 512


@dataclass(frozen=True)
class PackedTree:
    """One packed sequence of a prefix and its branches.

    Args:
        ids: int64 [T], the prefix's P ids and then the branches' in their order.
        position_ids: int64 [3, T], M-RoPE positions (temporal, height, width).
        owners: int64 [T], the branch of each token plus one; 0 is the prefix.
        visible: bool [branches + 1, branches + 1], True where the row's owner may see the column's.
        starts: where the branches directly behind the prefix start in the sequence, in their order.
        predicted_by: for each branch int64 [n], the index in the sequence of the token whose logits predict the
            branch's tokens: the last token of its parent, then its own tokens but the last.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    owners: torch.Tensor
    visible: torch.Tensor
    starts: tuple[int, ...]
    predicted_by: tuple[torch.Tensor, ...]

    def dense_mask(self) -> torch.Tensor:
        """bool [1, 1, T, T], True where the row's token may attend to the column's."""
        return self._mask(slice(0, len(self.ids)), slice(0, len(self.ids)))

    def branch_mask(self) -> BranchMask:
        """The same for split attention, in runs of whole trees behind the prefix."""
        num_prefix, end = int((self.owners == 0).sum()), len(self.ids)
        prefix = slice(0, num_prefix)
        bounds = list(self.starts[:1])
        for start, stop in zip(self.starts, [*self.starts[1:], end], strict=True):
            if start > bounds[-1] and stop - bounds[-1] > _TOKENS_OF_A_RUN:
                bounds.append(start)
        runs = []
        for start, stop in zip(bounds, [*bounds[1:], end], strict=True):
            rows = slice(start, stop)
            runs.append((start, stop, torch.cat([self._mask(rows, prefix), self._mask(rows, rows)], dim=-1)))
        return BranchMask(num_prefix, tuple(runs))

    def _mask(self, rows: slice, columns: slice) -> torch.Tensor:
        index = torch.arange(len(self.ids), device=self.ids.device)
        seen = self.visible[self.owners[rows]][:, self.owners[columns]]
        return (seen & (index[columns] <= index[rows, None]))[None, None]


def pack_tree(
    prefix_ids: torch.Tensor, prefix_positions: torch.Tensor, branches: Sequence[tuple[int, torch.Tensor]]
) -> PackedTree:
    """Packs branches behind a prefix.

    Args:
        prefix_ids: int64 [P].
        prefix_positions: int64 [3, P].
        branches: (parent, ids [n]) each; the parent is `PREFIX` or the index of an earlier branch. A tree behind the
            prefix comes whole, before the next one.

    Raises:
        ValueError: an empty branch, or a parent that is not earlier or not of the same tree.
    """
    device = prefix_ids.device
    num_prefix = len(prefix_ids)
    # Row b: which branches (shifted by one; 0 is the prefix) a token of branch b may see.
    visible = torch.eye(len(branches) + 1, dtype=torch.bool)
    visible[:, 0] = True
    ids, positions, predicted_by = [prefix_ids], [prefix_positions], []
    owner = [torch.zeros(num_prefix, dtype=torch.long)]
    ends = [(num_prefix - 1, int(prefix_positions.max()) + 1)]  # index of the last token, next position
    starts: list[int] = []
    offset, newest_tree = num_prefix, 0
    for index, (parent, branch_ids) in enumerate(branches):
        if not (parent == PREFIX or newest_tree <= parent < index) or len(branch_ids) == 0:
            raise ValueError(
                f"Branch {index} has parent {parent} and {len(branch_ids)} tokens; the parent must be {PREFIX} (the "
                f"prefix) or an earlier branch of the newest tree ({newest_tree} and on), and a branch must not be "
                "empty."
            )
        if parent == PREFIX:
            starts.append(offset)
            newest_tree = index
        visible[index + 1] |= visible[parent + 1]
        last_of_parent, start = ends[parent + 1]
        length = len(branch_ids)
        ids.append(branch_ids)
        positions.append((start + torch.arange(length, device=device)).expand(3, -1))
        owner.append(torch.full((length,), index + 1))
        own = torch.arange(offset, offset + length - 1)
        predicted_by.append(torch.cat([torch.tensor([last_of_parent]), own]).to(device))
        ends.append((offset + length - 1, start + length))
        offset += length
    return PackedTree(
        torch.cat(ids),
        torch.cat(positions, dim=1),
        torch.cat(owner).to(device),
        visible.to(device),
        tuple(starts),
        tuple(predicted_by),
    )


def shared_beginnings(
    completions: Sequence[Sequence[int]], parent: int, first: int
) -> tuple[list[tuple[int, Sequence[int]]], list[list[int]]]:
    """Completions of one query as branches, what several of them begin with as one.

    Behind branch 4, the completions 7 8 9, 7 8 5 and 7 8 9 again:

    >>> shared_beginnings([[7, 8, 9], [7, 8, 5], [7, 8, 9]], parent=4, first=5)
    ([(4, [7, 8]), (5, [9]), (5, [5])], [[5, 6], [5, 7], [5, 6]])

    Args:
        completions: token ids, none of them empty.
        parent: index of the branch that all follow.
        first: index of the first branch that is made.

    Returns:
        The branches as `pack_tree` takes them, and for each completion the indices of those that it consists of.

    Raises:
        ValueError: an empty completion.
    """
    if not all(map(len, completions)):
        raise ValueError("A completion is empty; each has at least the token that ends it.")
    branches: list[tuple[int, Sequence[int]]] = []
    paths: list[list[int]] = [[] for _ in completions]

    def grow(parent: int, members: Sequence[int], depth: int) -> None:
        by_next: dict[int, list[int]] = {}
        for number in members:
            if len(completions[number]) > depth:
                by_next.setdefault(completions[number][depth], []).append(number)
        for alike in by_next.values():
            common = os.path.commonprefix([completions[number][depth:] for number in alike])
            index = first + len(branches)
            branches.append((parent, common))
            for number in alike:
                paths[number].append(index)
            grow(index, alike, depth + len(common))

    grow(parent, range(len(completions)), 0)
    return branches, paths

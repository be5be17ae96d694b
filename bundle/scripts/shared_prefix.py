"""Many branches behind one prefix, in one sequence.

The prompt of a volume (S slices of visual tokens) is many times longer than a query or a completion, and it is the
same for all of them. So it is computed once: one sequence holds the prefix and then every branch; a branch attends to
its own ancestors only, and its positions start where its parent's end, as if it stood alone behind it.

    prefix --+-- query 1 --+-- completion 1.1
             |             +-- completion 1.2
             +-- query 2 ----- completion 2.1

The token log-probabilities are equal to those of the separate sequences (tests: 1e-9 in float64).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PREFIX = -1
"""The parent of a branch that stands directly behind the prefix."""


@dataclass(frozen=True)
class PackedTree:
    """One packed sequence of a prefix and its branches.

    Args:
        ids: int64 [T], the prefix's P ids and then the branches' in their order.
        position_ids: int64 [3, T], M-RoPE positions (temporal, height, width).
        attention_mask: bool [1, 1, T, T], True where the row's token may attend to the column's.
        predicted_by: for each branch int64 [n], the index in the sequence of the token whose logits predict the
            branch's tokens: the last token of its parent, then its own tokens but the last.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    predicted_by: tuple[torch.Tensor, ...]


def pack_tree(
    prefix_ids: torch.Tensor, prefix_positions: torch.Tensor, branches: Sequence[tuple[int, torch.Tensor]]
) -> PackedTree:
    """Packs branches behind a prefix.

    Args:
        prefix_ids: int64 [P].
        prefix_positions: int64 [3, P].
        branches: (parent, ids [n]) each; the parent is `PREFIX` or the index of an earlier branch.

    Raises:
        ValueError: an empty branch, or a parent that is not earlier.
    """
    device = prefix_ids.device
    num_prefix = len(prefix_ids)
    # Row b: which branches (shifted by one; 0 is the prefix) a token of branch b may see.
    visible = torch.eye(len(branches) + 1, dtype=torch.bool)
    visible[:, 0] = True
    ids, positions, predicted_by = [prefix_ids], [prefix_positions], []
    owner = [torch.zeros(num_prefix, dtype=torch.long)]
    ends = [(num_prefix - 1, int(prefix_positions.max()) + 1)]  # index of the last token, next position
    offset = num_prefix
    for index, (parent, branch_ids) in enumerate(branches):
        if not PREFIX <= parent < index or len(branch_ids) == 0:
            raise ValueError(
                f"Branch {index} has parent {parent} and {len(branch_ids)} tokens; the parent must be {PREFIX} (the "
                "prefix) or an earlier branch, and a branch must not be empty."
            )
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
    owners = torch.cat(owner).to(device)
    causal = torch.ones(offset, offset, dtype=torch.bool, device=device).tril()
    mask = visible.to(device)[owners][:, owners] & causal
    return PackedTree(torch.cat(ids), torch.cat(positions, dim=1), mask[None, None], tuple(predicted_by))

"""Attention of many branches behind one prefix, without the mask of all pairs of tokens.

A model that was given this attention computes as with `sdpa`, unless a call says that its tokens share a prefix:

    branches    one sequence holds the prefix and then all branches (training). The prefix attends to itself, causally;
                each run of branches to the prefix and itself.
    prefix      the keys and values of the prefix stand apart, once for all sequences of a batch (decoding), or once
                for each equal share of them. They are neither copied nor read once a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "medvol_r1_split"

LayerPrefix = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of V prefixes of one length in one layer, [V, heads, P, size] each; the first of V equal shares of a
batch stands behind the first one."""


@dataclass(frozen=True)
class BranchMask:
    """Who attends to whom in a sequence of a prefix and branches.

    Args:
        num_prefix: P, the first tokens; causal among themselves.
        runs: (start, stop, mask) of the runs of n = stop - start tokens that follow, in their order; a run's tokens
            attend to nothing but the prefix and their own run. Mask: bool [B, 1, n, P + n], the columns of the prefix
            and then of the run.
    """

    num_prefix: int
    runs: tuple[tuple[int, int, torch.Tensor], ...]


def use_split_attention(language_model: PreTrainedModel) -> None:
    """Gives a language model this attention; that of other models stays as it is.

    transformers finds it by its name. To register it again, after a reload of this module, changes nothing.
    """
    AttentionInterface.register(NAME, split_attention)
    # Without this, transformers drops padding masks of attentions that it does not know.
    AttentionMaskInterface.register(NAME, sdpa_mask)
    language_model.set_attn_implementation(NAME)


def split_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    branches: BranchMask | None = None,
    prefix: Sequence[LayerPrefix] | None = None,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function, as transformers calls it in each layer.

    Args:
        module: the layer's attention.
        query: [B, heads, T, size].
        key: [B, key-value heads, n, size].
        value: [B, key-value heads, n, size].
        attention_mask: bool [B, 1, T, n], or None for causal attention; not looked at with `branches`.
        branches: each of the B rows of T = n tokens is a prefix and its branches.
        prefix: of each layer; all tokens attend to all of it, and to `key` by the mask, which must be there.
        arguments: what `sdpa` takes (scaling, dropout).

    Returns:
        [B, T, heads, size], and no weights.

    Raises:
        ValueError: a prefix without a mask.
    """
    if branches is not None:
        return _of_branches(module, query, key, value, branches, arguments), None
    if prefix is not None:
        if attention_mask is None:
            raise ValueError(
                "A shared prefix came without an attention mask, which must say what each token sees of its own "
                "sequence. If this model was called with one, the installed transformers has dropped it: please report "
                "its version."
            )
        keys, values = prefix[module.layer_idx]
        return _behind_prefix(query, key, value, keys, values, attention_mask, arguments["scaling"]), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **arguments)


def _of_branches(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    branches: BranchMask,
    arguments: dict[str, Any],
) -> torch.Tensor:
    """[B, T, heads, size]; one call for the prefix and one for each run."""
    first = slice(0, branches.num_prefix)
    out = [sdpa_attention_forward(module, query[:, :, first], key[:, :, first], value[:, :, first], None, **arguments)]
    for start, stop, mask in branches.runs:
        keys, values = (torch.cat([one[:, :, first], one[:, :, start:stop]], dim=2) for one in (key, value))
        out.append(sdpa_attention_forward(module, query[:, :, start:stop], keys, values, mask, **arguments))
    return torch.cat([part for part, _ in out], dim=1)


def _behind_prefix(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefix_key: torch.Tensor,
    prefix_value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """[B, T, heads, size]; prefix_key and prefix_value [V, key-value heads, P, size].

    The queries of all sequences of a prefix meet it in one product. What they find there and what they find in their
    own sequence are weighed by the share of the softmax's sum that each has.
    """
    batch, heads, length, size = query.shape
    prefixes, groups = prefix_key.shape[:2]
    query = query.reshape(batch, groups, -1, size)  # the heads that share a key-value head, all their tokens

    def parted(joined: torch.Tensor) -> torch.Tensor:
        by_sequence = joined.view(prefixes, groups, batch // prefixes, -1, joined.shape[-1]).transpose(1, 2)
        return by_sequence.flatten(0, 1)

    joined = query.view(prefixes, -1, *query.shape[1:]).transpose(1, 2).reshape(prefixes, groups, -1, size)
    weights, log_sum = _softmax(joined @ prefix_key.mT, scaling)
    on_prefix, log_sum = parted(weights.to(prefix_value.dtype) @ prefix_value), parted(log_sum)
    scores = query @ key.mT
    scores = scores.masked_fill(~mask.repeat(1, 1, heads // groups, 1), torch.finfo(scores.dtype).min)
    weights, own_log_sum = _softmax(scores, scaling)
    on_own = weights.to(value.dtype) @ value
    share = torch.sigmoid(log_sum - own_log_sum).to(value.dtype)
    out = share * on_prefix + (1 - share) * on_own
    return out.reshape(batch, heads, length, size).transpose(1, 2)


def _softmax(scores: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights over the last axis, at least float32, and the logarithm of the sum of the exponentials, [..., 1]."""
    scores = (scores.float() if scores.itemsize < 4 else scores) * scaling
    weights = scores.softmax(dim=-1)
    # The largest weight is exp(largest score) / sum; it is at least 1 / n.
    return weights, scores.amax(dim=-1, keepdim=True) - weights.amax(dim=-1, keepdim=True).log()

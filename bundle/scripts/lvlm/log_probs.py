"""Token log-probabilities of completions behind a volume.

Three forms give the same numbers:

    split    all completions packed behind one prefix, with split attention: the fastest
    dense    the same sequence under a mask of all pairs of tokens, with transformers' own attention
    none     not packed: a sequence for each completion, as slow as there are completions

The first two stand on details of transformers (masks and arguments that reach the attention untouched, positions that
are taken as given), which a new version may change without a word. So they are compared with the third one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F

from .architecture import QwenVL
from .encoded_volume import EncodedVolume, hidden_states
from .shared_prefix import PREFIX, pack_tree, shared_beginnings

Packing = Literal["split", "dense", "none"]
PACKINGS: tuple[Packing, ...] = get_args(Packing)


class _Rounding(NamedTuple):
    """Differences of token log-probabilities that are rounding, in nats: of any token, and of all on average."""

    largest: float
    mean: float


# A branch that sees another, or stands one position too far, differs by more.
_ROUNDING = {torch.float64: _Rounding(1e-7, 1e-8), torch.float32: _Rounding(1e-3, 1e-4)}
# Measured in bfloat16 on an H200: 0.086 at most and 0.017 on average. Only a gross error shows in so much rounding.
_ROUNDING_OF_HALF_PRECISION = _Rounding(0.3, 0.05)


def completion_log_probs(
    base: QwenVL,
    volume: EncodedVolume,
    tails: Sequence[torch.Tensor],
    completions: Sequence[Sequence[torch.Tensor]],
    packing: Packing,
) -> list[list[torch.Tensor]]:
    """Log-probabilities of given completions.

    Args:
        base: the network.
        volume: the prefix.
        tails: K queries, each with what makes it the assistant's turn, int64 [n].
        completions: for each query its completions' ids, int64 [n] each, end token included.
        packing: see the head of the module.

    Returns:
        For each query a list of [n], float32 (float64 for a float64 network).
    """
    if packing != "none":
        return _packed(base, volume, tails, completions, packing)
    return [
        [_alone(base, volume, tail, ids) for ids in answers] for tail, answers in zip(tails, completions, strict=True)
    ]


@torch.no_grad()
def trusted_packing(
    base: QwenVL,
    volume: EncodedVolume,
    tails: Sequence[torch.Tensor],
    completions: Sequence[Sequence[torch.Tensor]],
    packing: Packing,
) -> Packing:
    """The first form, from `packing` on, that agrees with `none` on two completions each of two queries.

    Warns when it is not `packing`. Dropout must be off. The arguments are those of `completion_log_probs`.

    Weights in half precision are compared in float32, for which they take three times the memory meanwhile; where that
    is not there, as they are.
    """
    answered = [index for index, answers in enumerate(completions) if answers][:2]
    tails, completions = [tails[index] for index in answered], [completions[index][:2] for index in answered]
    with torch.autocast(volume.prefix_ids.device.type, enabled=False):  # it would round as half precision does
        try:
            with _in_float32(base):
                return _agreeing(base, volume, tails, completions, packing)
        except torch.OutOfMemoryError:
            pass
        return _agreeing(base, volume, tails, completions, packing)


def _agreeing(
    base: QwenVL,
    volume: EncodedVolume,
    tails: Sequence[torch.Tensor],
    completions: Sequence[Sequence[torch.Tensor]],
    packing: Packing,
) -> Packing:
    """The first form, from `packing` on, whose differences from `none` are rounding."""
    rounding = _ROUNDING.get(base.dtype, _ROUNDING_OF_HALF_PRECISION)
    expected = _flat(completion_log_probs(base, volume, tails, completions, "none"))
    for candidate in PACKINGS[PACKINGS.index(packing) : -1]:
        difference = (_flat(completion_log_probs(base, volume, tails, completions, candidate)) - expected).abs()
        largest, mean = difference.max().item(), difference.mean().item()
        if largest <= rounding.largest and mean <= rounding.mean:  # not so for NaN
            return candidate
        warnings.warn(
            f"Log-probabilities with packing {candidate!r} differ by {largest:.2g}, on average by {mean:.2g}, from "
            f"those of separate sequences (up to {rounding.largest:g} and {rounding.mean:g} is rounding); another, "
            "slower form is used from now on. Please report this with your versions of torch and transformers.",
            RuntimeWarning,
            stacklevel=5,
        )
    return "none"


@contextmanager
def _in_float32(base: QwenVL) -> Iterator[None]:
    """Inside, half-precision weights are float32; behind it they are the same tensors as before."""
    halves = [(weight, weight.data) for weight in base.parameters() if weight.dtype in (torch.bfloat16, torch.float16)]
    try:
        for weight, half in halves:
            weight.data = half.float()
        yield
    finally:
        for weight, half in halves:
            weight.data = half


def _packed(
    base: QwenVL,
    volume: EncodedVolume,
    tails: Sequence[torch.Tensor],
    completions: Sequence[Sequence[torch.Tensor]],
    packing: Packing,
) -> list[list[torch.Tensor]]:
    """All completions in one sequence."""
    branches: list[tuple[int, torch.Tensor]] = []
    paths: list[list[list[int]]] = []  # for each query the branches of each completion
    wanted: list[int] = []
    for tail, answers in zip(tails, completions, strict=True):
        query = len(branches)
        branches.append((PREFIX, tail))
        shared, paths_of_query = shared_beginnings([ids.tolist() for ids in answers], query, query + 1)
        wanted += range(query + 1, query + 1 + len(shared))
        branches += [(parent, torch.tensor(ids, device=tail.device)) for parent, ids in shared]
        paths.append(paths_of_query)
    if not wanted:
        return [[] for _ in tails]
    tree = pack_tree(volume.prefix_ids, volume.position_ids, branches)
    hidden = hidden_states(
        base,
        tree.ids[None],
        tree.position_ids[:, None],
        volume=volume,
        attention_mask=tree.dense_mask() if packing == "dense" else None,
        branches=tree.branch_mask() if packing == "split" else None,
    )[0]
    targets = [branches[branch][1] for branch in wanted]
    index = torch.cat([tree.predicted_by[branch] for branch in wanted])
    flat = log_probs_of_hidden(base, hidden[index], torch.cat(targets)).split([len(ids) for ids in targets])
    found = dict(zip(wanted, flat, strict=True))
    return [[torch.cat([found[branch] for branch in path]) for path in of_query] for of_query in paths]


def _alone(base: QwenVL, volume: EncodedVolume, tail: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """[n] of one completion in a sequence of its own, at the positions that transformers gives it."""
    ids = torch.cat([volume.prefix_ids, tail, completion])[None]
    positions, _ = base.model.get_rope_index(
        ids, mm_token_type_ids=(ids == base.config.image_token_id).int(), image_grid_thw=volume.grid
    )
    hidden = hidden_states(base, ids, positions, volume=volume)[0]
    return log_probs_of_hidden(base, hidden[-len(completion) - 1 : -1], completion)


def log_probs_of_hidden(base: QwenVL, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """[n] of the targets [n], from the hidden states [n, hidden] that predict them."""
    logits = base.lm_head(hidden)
    # Half precision is too coarse for the sum over the vocabulary.
    logits = logits.float() if logits.itemsize < 4 else logits
    return -F.cross_entropy(logits, targets, reduction="none")


def _flat(log_probs: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    return torch.cat([one for answers in log_probs for one in answers])

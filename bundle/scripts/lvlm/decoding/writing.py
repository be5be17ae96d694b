"""Tokens behind a prefilled prefix, one after another, until all sequences have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache

from ...constrained.token_choices import ConstrainedAnswer
from ..encoded_volume import hidden_states
from ..split_attention import LayerPrefix
from .cuda_graph import rows_of_graph
from .static_sequences import StaticSequences, left_padded

# Tokens between two looks for sequences that have ended: a look makes a GPU wait for the host.
_TOKENS_BETWEEN_LOOKS = 8

Watch = Callable[[torch.Tensor], None]
"""Is called with the ids, int64 [n], that the first sequence that is still written has so far."""


def begin(
    sequences: StaticSequences,
    prefix: Sequence[LayerPrefix],
    first_position: int,
    ids: torch.Tensor,
    present: torch.Tensor,
    copies: torch.Tensor,
) -> torch.Tensor:
    """Computes tails [K, n], where present, once each, and starts `copies` of them, int64 [B].

    Returns:
        Logits float32 [B, vocabulary] of the first tokens.
    """
    base = sequences.base
    cache = DynamicCache(config=base.config.get_text_config())
    positions = first_position - 1 + present.cumsum(dim=1)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    hidden = hidden_states(
        base,
        ids,
        positions.expand(3, -1, -1),
        attention_mask=present[:, None, None] & causal,
        cache=cache,
        prefix=prefix,
    )
    cache.batch_select_indices(copies)
    sequences.begin(prefix, cache, present[copies], positions[copies, -1] + 1)
    return base.lm_head(hidden[:, -1]).float().index_fill(1, sequences.banned, -torch.inf)[copies]


def write(
    sequences: StaticSequences,
    logits: torch.Tensor,
    generator: torch.Generator | None,
    watch: Watch | None = None,
) -> list[tuple[torch.Tensor, float]]:
    """What each sequence goes on with, int64 [n] with the end token, on the CPU, and the mean entropy of these tokens.

    A sequence that has ended is not decoded on, but for a few tokens on a GPU, which nothing is made of.
    """
    found: list[tuple[torch.Tensor, float]] = [(logits, 0.0)] * len(logits)  # each replaced when its sequence has ended
    rows = torch.arange(len(logits))  # of `found`, those that are decoded
    look_every = 1 if logits.device.type == "cpu" and not sequences.graphs else _TOKENS_BETWEEN_LOOKS
    sequences.choose(logits, generator)
    for number in range(1, sequences.max_new_tokens + 1):
        is_last = number == sequences.max_new_tokens
        if is_last or number % look_every == 0:
            if watch is not None:
                watch(sequences.written[0, : int(sequences.number[0])])
            ended = sequences.ended[: len(rows)].cpu() | is_last
            going_on = _going_on(sequences, ended)
            if ended.all() or sequences.worth_shrinking(len(going_on)):
                for row, result in zip(rows[ended].tolist(), _results(sequences, ended), strict=True):
                    found[row] = result
                if ended.all():
                    break
                rows = rows[going_on]
                sequences.keep(going_on.to(logits.device))
        sequences.advance(generator)
    return found


def write_constrained(
    sequences: StaticSequences,
    logits: torch.Tensor,
    answers: Sequence[ConstrainedAnswer],
    generator: torch.Generator | None,
    watch: Watch | None = None,
) -> list[tuple[torch.Tensor, float]]:
    """As `write`, for tokens that `answers` choose from: the host sees each token, to say what may come next.

    What comes without a choice goes through the network together, in front of the next choice; a graph takes one token
    at a time. Behind the last choice of an answer nothing is computed.
    """
    entropy = [0.0] * len(answers)
    pending: list[list[int]] = [[] for _ in answers]  # written, and not yet taken in
    allowed: list[torch.Tensor | None] = [None] * len(answers)
    rows = list(range(len(answers)))  # of `answers`, those that are decoded

    def allow() -> None:
        for place, row in enumerate(rows):
            if not answers[row].is_whole:
                options = torch.tensor(pending[row][:1]) if pending[row] else answers[row].options()
                if options is not allowed[row]:
                    sequences.allow(place, options)
                allowed[row] = options

    allow()
    sequences.choose(logits, generator)
    while True:
        going_on = []
        for place, (row, token) in enumerate(zip(rows, sequences.chosen[: len(rows)].tolist(), strict=True)):
            if answers[row].is_whole:
                continue
            pending[row] = pending[row] or answers[row].take(token)
            if answers[row].is_whole:
                entropy[row] = float(sequences.entropy[place])
            else:
                going_on.append(place)
        if watch is not None:
            watch(torch.tensor(answers[rows[0]].ids))
        if not going_on:
            return [(torch.tensor(one.ids), total / len(one.ids)) for one, total in zip(answers, entropy, strict=True)]
        if sequences.worth_shrinking(len(going_on)):
            sequences.keep(torch.tensor(going_on, device=logits.device))
            rows = [rows[place] for place in going_on]
        runs = [pending[row] for row in rows]
        left = sequences.max_new_tokens - min(len(answers[row].ids) for row in rows)
        if sequences.graphs or sequences.used + max(map(len, runs)) + left > sequences.length:
            runs = [run[:1] for run in runs]
        for row, run in zip(rows, runs, strict=True):
            pending[row] = pending[row][len(run) :]
        allow()
        if sequences.graphs:
            sequences.advance(generator)
        else:
            ids, present = left_padded([torch.tensor(run, device=logits.device) for run in runs])
            sequences.extend(ids, present, generator)


def _going_on(sequences: StaticSequences, ended: torch.Tensor) -> torch.Tensor:
    """Index of the sequences that go on, as many behind each prefix: where fewer do, some that have ended fill up."""
    by_prefix = ended.view(sequences.prefixes, -1)
    share = int((~by_prefix).sum(dim=1).max())
    if sequences.graphs and sequences.prefixes > 1:  # a graph has so many rows behind each
        share = min(rows_of_graph(share), by_prefix.shape[1])
    first = by_prefix.int().argsort(dim=1, stable=True)[:, :share]
    return (first + torch.arange(0, ended.numel(), by_prefix.shape[1])[:, None]).flatten()


def _results(sequences: StaticSequences, index: torch.Tensor) -> list[tuple[torch.Tensor, float]]:
    """What those of an index bool [B], on the CPU, have written, and its mean entropy."""
    values = (sequences.written, sequences.number, sequences.entropy)
    written, number, entropy = (one[: len(index)].cpu()[index] for one in values)
    return [
        (row[:length].clone(), total / max(length, 1))
        for row, length, total in zip(written, number.tolist(), entropy.tolist(), strict=True)
    ]

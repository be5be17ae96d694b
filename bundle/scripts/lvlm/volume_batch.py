"""Completions of several volumes in one forward: given ones and their log-probabilities, or ones that are written.

On a GPU a small model spends its time on starting kernels, as long for one volume as for sixteen. The numbers are those
of one volume after another: of `log_probs`, with a row for each volume, its queries packed behind its prefix; and the
greedy tokens of `decoding`, with equally many rows behind each volume's prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration

from .decoding import Completion, Decoder, decode_behind, volumes_together
from .encoded_volume import EncodedVolume, hidden_states, prefilled
from .log_probs import log_probs_of_hidden
from .split_attention import BranchMask, LayerPrefix
from .static_sequences import rows_of_graph

QueryTokens = tuple[Sequence[int], Sequence[Sequence[int]]]
"""What stands between the prefix and a completion, and the ids of each completion, end token included."""


@dataclass(frozen=True)
class PackedQueries:
    """What stands behind the prefixes of B volumes: each query and then its completions.

    Args:
        ids: int64 [B, n], rows padded at their end.
        position: int64 [B, n], counted from the end of the prefix; completions of a query start at the same one.
        query: int64 [B, n], number of the query that a token belongs to; -1 at padding.
        completion: int64 [B, n], number of its completion from 1 on, 0 for the query's own tokens.
        predicted_by: int64 [t], for each token of a completion the index, into the B * n tokens, of the one whose
            logits predict it.
        targets: int64 [t], these tokens: volume by volume, query by query, completion by completion.
    """

    ids: torch.Tensor
    position: torch.Tensor
    query: torch.Tensor
    completion: torch.Tensor
    predicted_by: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> PackedQueries:
        """The same on a device."""
        return replace(self, **{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    def mask(self, num_prefix: int) -> torch.Tensor:
        """bool [B, 1, n, P + n], True where a row's token may attend to a column's: to all of the prefix; behind it, to
        what came before in the same query and is the query's own or of the same completion."""
        length = self.query.shape[1]
        same_query = self.query[:, :, None] == self.query[:, None]
        own = (self.completion[:, None] == 0) | (self.completion[:, :, None] == self.completion[:, None])
        seen = same_query & own & torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        return torch.cat([seen.new_ones(len(seen), length, num_prefix), seen], dim=2)[:, None]


def pack_queries(volumes: Sequence[Sequence[QueryTokens]]) -> PackedQueries:
    """Packs the queries of several volumes, on the CPU.

    Args:
        volumes: the queries of each.
    """
    rows = [_row(queries) for queries in volumes]
    length = max(len(row["ids"]) for row in rows)

    def stacked(name: str, padding: int) -> torch.Tensor:
        padded = [np.pad(row[name], (0, length - len(row[name])), constant_values=padding) for row in rows]
        return torch.from_numpy(np.stack(padded))

    return PackedQueries(
        ids=stacked("ids", 0),
        position=stacked("position", 0),
        query=stacked("query", -1),
        completion=stacked("completion", 0),
        predicted_by=torch.from_numpy(
            np.concatenate([number * length + row["predicted_by"] for number, row in enumerate(rows)])
        ),
        targets=torch.from_numpy(np.concatenate([row["targets"] for row in rows])),
    )


def batch_log_probs(
    base: Qwen3VLForConditionalGeneration, volumes: Sequence[EncodedVolume], packed: PackedQueries
) -> torch.Tensor:
    """Log-probabilities of all completions' tokens.

    Args:
        base: the network.
        volumes: B of the same number of slices and the same size, so that their prefixes differ in the features only.
        packed: their queries.

    Returns:
        float32 [t] (float64 for a float64 network), of `packed.targets`.

    Raises:
        ValueError: volumes of different sizes.
    """
    first = volumes[0]
    if any(len(volume.prefix_ids) != len(first.prefix_ids) for volume in volumes):
        raise ValueError(f"Volumes of one batch need as many slices each, got {[v.num_slices for v in volumes]}.")
    num_prefix = len(first.prefix_ids)
    packed = packed.to(first.prefix_ids.device)
    rows, length = packed.ids.shape
    joined = replace(
        first,
        visual_embeds=torch.cat([volume.visual_embeds for volume in volumes]),
        deepstack=tuple(torch.cat(features) for features in zip(*(v.deepstack for v in volumes), strict=True)),
    )
    behind = packed.position + first.position_ids.max() + 1
    hidden = hidden_states(
        base,
        torch.cat([first.prefix_ids.expand(rows, -1), packed.ids], dim=1),
        torch.cat([first.position_ids[:, None].expand(-1, rows, -1), behind.expand(3, -1, -1)], dim=2),
        volume=joined,
        branches=BranchMask(num_prefix, ((num_prefix, num_prefix + length, packed.mask(num_prefix)),)),
    )
    return log_probs_of_hidden(base, hidden[:, num_prefix:].flatten(0, 1)[packed.predicted_by], packed.targets)


@torch.no_grad()
def decode_volumes(
    decoder: Decoder, volumes: Sequence[EncodedVolume], tails: Sequence[Sequence[torch.Tensor]], num_samples: int
) -> list[list[list[Completion]]]:
    """Writes completions of several volumes; those that follow each other and are of one size together.

    As many at a time as memory holds, and 128 sequences. Greedy completions are those of one volume after another; what
    is drawn depends on the volumes that share a batch, and is the same for the same seed and volumes.

    Args:
        decoder: without `choices`.
        volumes: N.
        tails: of each its queries, as `decode` takes them; at least one.
        num_samples: G completions of a query.

    Returns:
        For each volume and query G completions.
    """
    found: list[list[list[Completion]]] = []
    batch: list[_Prefilled] = []
    for volume, own in zip(volumes, tails, strict=True):
        one = _Prefilled(prefilled(decoder.base, volume), int(volume.position_ids.max()) + 1, own)
        if batch and not _fit(decoder, [*batch, one], num_samples):
            found += _decode_batch(decoder, batch, num_samples)
            batch = []
        batch.append(one)
    return found + _decode_batch(decoder, batch, num_samples)


class _Prefilled(NamedTuple):
    """Keys and values of a volume's prefix, the position behind it, and K tails."""

    prefix: Sequence[LayerPrefix]
    first_position: int
    tails: Sequence[torch.Tensor]


def _fit(decoder: Decoder, batch: Sequence[_Prefilled], num_samples: int) -> bool:
    """Whether volumes can be decoded together."""
    sizes = {(one.prefix[0][0].shape, one.first_position) for one in batch}
    length = decoder.length([tail for one in batch for tail in one.tails])
    count = max(len(one.tails) for one in batch) * num_samples
    return len(sizes) == 1 and len(batch) <= volumes_together(decoder, batch[0].prefix, length, count)


def _decode_batch(decoder: Decoder, batch: Sequence[_Prefilled], num_samples: int) -> list[list[list[Completion]]]:
    """The completions of volumes that fit."""
    if len(batch) < 2:
        return [decode_behind(decoder, *one, num_samples) for one in batch]
    first = batch[0]
    prefix = [
        tuple(torch.cat(values) for values in zip(*layers, strict=True))
        for layers in zip(*(one.prefix for one in batch), strict=True)
    ]
    queries = max(len(one.tails) for one in batch)
    rows = queries * num_samples
    if decoder.graphs:
        rows = rows_of_graph(rows)
    # Equally many rows behind each prefix: what is missing repeats the volume's first query, and is not looked at.
    tails = [tail for one in batch for tail in (*one.tails, *[one.tails[0]] * (queries - len(one.tails)))]
    query = (torch.arange(rows) // num_samples).clamp(max=queries - 1)
    copies = (query + queries * torch.arange(len(batch))[:, None]).flatten()
    wanted = torch.tensor([len(one.tails) * num_samples for one in batch])[:, None] > torch.arange(rows)
    length, padding = decoder.length(tails), ~wanted.flatten()
    written = iter(decoder.complete(prefix, first.first_position, tails, copies, length, padding))
    return [[list(islice(written, num_samples)) for _ in one.tails] for one in batch]


def _row(queries: Sequence[QueryTokens]) -> dict[str, np.ndarray]:
    """The fields of `PackedQueries` for one volume, int64 [n] and [t]."""
    parts: dict[str, list[np.ndarray]] = {name.name: [] for name in fields(PackedQueries)}
    start = 0
    for number, (tail, answers) in enumerate(queries):
        end_of_tail = start + len(tail) - 1
        for part, tokens in enumerate([tail, *answers]):
            size = len(tokens)
            parts["ids"].append(np.asarray(tokens, dtype=np.int64))
            parts["position"].append(np.arange(size) + (len(tail) if part else 0))
            parts["query"].append(np.full(size, number))
            parts["completion"].append(np.full(size, part))
            if part:
                parts["targets"].append(parts["ids"][-1])
                parts["predicted_by"].append(np.r_[end_of_tail, np.arange(start, start + size - 1)])
            start += size
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}

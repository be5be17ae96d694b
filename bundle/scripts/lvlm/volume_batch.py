"""Log-probabilities of given completions of several volumes in one forward.

On a GPU a small model spends its time on starting kernels, as long for one volume as for sixteen. The numbers are those
of `log_probs`, one volume after another: with a row for each volume, its queries packed behind its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from .architecture import QwenVL
from .encoded_volume import EncodedVolume, hidden_states
from .log_probs import completion_log_probs, log_probs_of_hidden
from .split_attention import BranchMask

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


def batch_log_probs(base: QwenVL, volumes: Sequence[EncodedVolume], packed: PackedQueries) -> torch.Tensor:
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


def log_probs_one_by_one(base: QwenVL, volumes: Sequence[EncodedVolume], packed: PackedQueries) -> torch.Tensor:
    """The same without packing: a sequence for each completion. Volumes may differ in size."""
    packed = packed.to(volumes[0].prefix_ids.device)
    found: list[torch.Tensor] = []
    for volume, ids, query, completion in zip(volumes, packed.ids, packed.query, packed.completion, strict=True):
        for number in range(int(query.max()) + 1):
            parts = [
                ids[(query == number) & (completion == part)]
                for part in range(int(completion[query == number].max()) + 1)
            ]
            found += completion_log_probs(base, volume, parts[:1], [parts[1:]], "none")[0]
    return torch.cat(found)


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

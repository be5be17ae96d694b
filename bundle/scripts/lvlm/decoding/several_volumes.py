"""Completions of several volumes, written together.

On a GPU a small model spends its time on starting kernels, as long for one volume as for sixteen. The greedy tokens are
those of one volume after another, with equally many rows behind each volume's prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch

from ..encoded_volume import EncodedVolume, prefilled
from ..split_attention import LayerPrefix
from .completion import Completion
from .cuda_graph import rows_of_graph
from .decoder import Decoder, decode_behind
from .memory import volumes_together


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
    if decoder.graphs:
        count = rows_of_graph(count)
    return len(sizes) == 1 and len(batch) <= volumes_together(decoder.base, batch[0].prefix, length, count)


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

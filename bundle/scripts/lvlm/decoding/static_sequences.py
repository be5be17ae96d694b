"""Sequences that grow in place: what a token changes stands at fixed addresses, so that a CUDA graph can advance it.

On a CPU the same code runs without one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, DynamicCache, StaticLayer

from ..architecture import QwenVL
from ..encoded_volume import hidden_states
from ..sampling import Sampling
from ..split_attention import LayerPrefix
from .cuda_graph import captured, fused_norms, rows_of_graph

# Fewer rows than this cost what this many do: a token then is reading the weights. Another graph would not pay.
_SMALLEST_SHRUNK_GRAPH = 8


class StaticSequences:
    """B sequences behind a shared prefix, or equal shares of them behind several, with keys and values of their own.

    Use: `begin`, `choose`, then `advance` as often as wanted; `keep` lets sequences go. Rows beyond `count` are there
    only in a graph, whose shape is fixed; what they hold means nothing.

    Args:
        base: the network.
        prefix: keys and values of the prefix, of each layer. With graphs they are copied: the next prefix of this
            length takes their place in the same graph.
        capacity: B, at most.
        length: tokens that a sequence can hold behind the prefix.
        max_new_tokens: of these, those that are written.
        sampling: how tokens are chosen.
        ends: int64 [n], tokens that end a sequence.
        banned: int64 [n], tokens that are never chosen.
        graphs: whether `advance` replays CUDA graphs.
        restricted: whether `allow` says which tokens may be chosen.
    """

    def __init__(
        self,
        base: QwenVL,
        prefix: Sequence[LayerPrefix],
        capacity: int,
        length: int,
        max_new_tokens: int,
        sampling: Sampling,
        ends: Tensor,
        banned: Tensor,
        graphs: bool,
        restricted: bool = False,
    ) -> None:
        device, vocabulary = base.device, base.config.get_text_config().vocab_size
        self.base, self.sampling, self.ends, self.banned = base, sampling, ends, banned
        self.capacity, self.length, self.max_new_tokens = capacity, length, max_new_tokens
        self.prefix = [(keys.clone(), values.clone()) for keys, values in prefix] if graphs else prefix
        self.own = [tuple(_behind(one, capacity, length) for one in layer) for layer in prefix]
        self.logits = torch.zeros(capacity, vocabulary, device=device)
        self.allowed = torch.ones(capacity, vocabulary, dtype=torch.bool, device=device) if restricted else None
        self.noise = torch.ones(capacity, sampling.candidates(vocabulary), device=device)
        self.present = torch.zeros(capacity, length, dtype=torch.bool, device=device)
        self.position = torch.zeros(capacity, 1, dtype=torch.long, device=device)  # of the token that comes
        self.chosen = torch.zeros(capacity, dtype=torch.long, device=device)
        self.written = torch.zeros(capacity, max_new_tokens, dtype=torch.long, device=device)
        self.entropy = torch.zeros(capacity, device=device)  # sum over the tokens
        self.ended = torch.zeros(capacity, dtype=torch.bool, device=device)
        self.number = torch.zeros(capacity, dtype=torch.long, device=device)  # tokens written
        self.at = torch.zeros(1, dtype=torch.long, device=device)  # where the token that comes is kept
        self.step = torch.zeros(1, dtype=torch.long, device=device)  # index of it among the written ones
        self.count = 0
        self.used = 0  # as `at`, on the host
        self._graphs: dict[int, torch.cuda.CUDAGraph] | None = {} if graphs else None

    @property
    def graphs(self) -> bool:
        """Whether graphs are replayed; no longer so when one could not be captured."""
        return self._graphs is not None

    @property
    def prefixes(self) -> int:
        """V; the first of so many equal shares of the sequences stands behind the first prefix."""
        return len(self.prefix[0][0])

    @property
    def rows(self) -> int:
        """Sequences that are computed: `count`, in a graph the next power of two behind each prefix."""
        return self._rows_of(self.count) if self.graphs else self.count

    def begin(self, prefix: Sequence[LayerPrefix], tails: DynamicCache, present: Tensor, position: Tensor) -> None:
        """Starts sequences behind a prefix and their tails.

        Args:
            prefix: of the same shape as the first one.
            tails: keys and values of B tails.
            present: bool [B, n], False at their padding.
            position: int64 [B], of the token that comes.
        """
        if self.graphs:
            for here, there in zip(self.prefix, prefix, strict=True):
                for buffer, values in zip(here, there, strict=True):
                    buffer.copy_(values)
        else:
            self.prefix = prefix
        self.count, self.used = present.shape
        for buffers, layer in zip(self.own, tails.layers, strict=True):
            for buffer, values in zip(buffers, (layer.keys, layer.values), strict=True):
                buffer[: self.count, :, : self.used] = values
        for values in (self.present, self.entropy, self.ended, self.number, self.step):
            values.zero_()
        self.present[: self.count, : self.used] = present
        self.position[: self.count, 0] = position
        self.at.fill_(self.used)

    def allow(self, row: int, ids: Tensor) -> None:
        """Only tokens of ids int64 [n] may be chosen next in a row, until others are given; for `restricted` ones."""
        self.allowed[row] = False
        self.allowed[row, ids.to(self.allowed.device)] = True

    def choose(self, logits: Tensor, generator: torch.Generator | None) -> None:
        """Takes the first tokens from logits float [B, vocabulary]."""
        self.logits[: self.count] = logits
        self._draw_noise(generator)
        self._choose(self.rows)

    def advance(self, generator: torch.Generator | None) -> None:
        """Takes the tokens in, and chooses the next ones."""
        self._draw_noise(generator)
        rows = self.rows
        if self._graphs is not None and rows not in self._graphs:
            self._capture(rows)
            rows = self.rows
        if self._graphs is not None:
            self._graphs[rows].replay()
        else:
            self._advance(rows, self.used + 1)
        self.used += 1

    def extend(self, ids: Tensor, present: Tensor, generator: torch.Generator | None) -> None:
        """Takes in a run of tokens of each sequence in place of the chosen one, without a graph, and chooses the next.

        Args:
            ids: int64 [count, n]; runs shorter than n are padded in front, which takes room in the buffers.
            present: bool [count, n], False at the padding.
            generator: as in `advance`.
        """
        self._draw_noise(generator)
        width = ids.shape[1]
        at = self.at + torch.arange(width, device=ids.device)
        self.used += width
        self.present[: self.count].index_copy_(1, at, present)
        before = torch.arange(self.used, device=ids.device) <= at[:, None]
        behind = present.cumsum(dim=1)
        mask = self.present[: self.count, None, None, : self.used] & before
        self._compute(ids, self.position[: self.count] - 1 + behind, mask, at)
        self.position[: self.count] += behind[:, -1:]
        self.at += width
        self._choose(self.count)

    def keep(self, index: Tensor) -> None:
        """Goes on with those of an index int64 [B']."""
        for buffer in (*self._states(), *(one for layer in self.own for one in layer)):
            buffer[: len(index)] = buffer[index]
        self.count = len(index)

    def worth_shrinking(self, count: int) -> bool:
        """Whether going on with so many sequences is a smaller computation."""
        if not self.graphs:
            return count < self.count
        return self.rows > _SMALLEST_SHRUNK_GRAPH and self._rows_of(count) < self.rows

    # Inside: nothing here waits for the host ----------------------------------------------------------------------

    def _rows_of(self, count: int) -> int:
        return min(self.prefixes * rows_of_graph(count // self.prefixes), self.capacity)

    def _states(self) -> tuple[Tensor, ...]:
        """What belongs to a sequence, but keys and values."""
        return (
            *(self.logits, self.present, self.position, self.chosen),
            *(self.written, self.entropy, self.ended, self.number),
            *(() if self.allowed is None else (self.allowed,)),
        )

    def _draw_noise(self, generator: torch.Generator | None) -> None:
        # In front of a graph, not in it: the caller's generator goes on as without one.
        if self.noise.shape[1]:
            self.noise[: self.rows].exponential_(generator=generator)

    def _choose(self, rows: int) -> None:
        """Chooses a token by the logits, and notes it where the sequence has not ended."""
        logits, ended = self.logits[:rows], self.ended[:rows]
        if self.allowed is not None:
            logits.masked_fill_(~self.allowed[:rows], -torch.inf)
        goes_on = ~ended
        self.entropy[:rows] += torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1) * goes_on
        self.number[:rows] += goes_on
        chosen = self.sampling.choose(logits, self.noise[:rows])
        self.chosen[:rows] = chosen
        self.written[:rows].index_copy_(1, self.step, chosen[:, None])
        self.step += 1
        ended |= (chosen[:, None] == self.ends).any(dim=-1)

    def _advance(self, rows: int, length: int) -> None:
        """Computes the logits behind the chosen tokens, with room for `length` tokens, and chooses."""
        self.present[:rows].index_fill_(1, self.at, True)
        mask = self.present[:rows, None, None, :length]
        self._compute(self.chosen[:rows, None], self.position[:rows], mask, self.at)
        self.position[:rows] += 1
        self.at += 1
        self._choose(rows)

    def _compute(self, ids: Tensor, position: Tensor, mask: Tensor, at: Tensor) -> None:
        """The logits behind tokens int64 [B, n], which are kept at `at`, int64 [n]; they attend where the mask says."""
        rows, length = len(ids), mask.shape[-1]
        cache = Cache(layers=[_GrowingLayer(keys[:rows], values[:rows], at, length) for keys, values in self.own])
        hidden = hidden_states(
            self.base, ids, position.expand(3, -1, -1), attention_mask=mask, cache=cache, prefix=self.prefix
        )
        # index_fill_: an assignment would copy the number from the host, which a graph cannot.
        self.logits[:rows] = self.base.lm_head(hidden[:, -1]).float().index_fill_(1, self.banned, -torch.inf)

    def _capture(self, rows: int) -> None:
        """Makes the graph of so many rows; warns, and goes on without graphs, where that fails."""
        changed = (*self._states(), self.at, self.step)
        before = [values.clone() for values in changed]

        def rehearse() -> None:
            self._advance(rows, self.length)
            for values, old in zip(changed, before, strict=True):
                values.copy_(old)

        try:
            with fused_norms(self.base):
                self._graphs[rows] = captured(rehearse, lambda: self._advance(rows, self.length))
        except (RuntimeError, NotImplementedError) as error:
            self._graphs = None
            for values, old in zip(changed, before, strict=True):
                values.copy_(old)
            warnings.warn(
                f"Decoding could not be captured as a CUDA graph and goes on without, several times slower: {error}",
                RuntimeWarning,
                stacklevel=2,
            )


class _GrowingLayer(StaticLayer):
    """A layer's keys and values in buffers that are given, [B, heads, n, size], and written at a shared place."""

    def __init__(self, keys: Tensor, values: Tensor, at: Tensor, length: int) -> None:
        super().__init__(max_cache_len=length)
        self.keys, self.values, self.at = keys, values, at
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keeps tokens of each sequence, and gives the first `max_cache_len` of all."""
        # Under autocast values come in half precision, and are kept in the type of the keys, as in a DynamicCache.
        self.keys.index_copy_(2, self.at, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self.at, value_states.to(self.values.dtype))
        return self.keys[:, :, : self.max_cache_len], self.values[:, :, : self.max_cache_len]


def left_padded(tails: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids int64 [B, n] and where they are, bool [B, n]."""
    longest = max(len(tail) for tail in tails)
    ids = torch.stack([F.pad(tail, (longest - len(tail), 0)) for tail in tails])
    lengths = torch.tensor([len(tail) for tail in tails], device=ids.device)
    return ids, torch.arange(longest, device=ids.device) >= longest - lengths[:, None]


def _behind(prefix: Tensor, capacity: int, length: int) -> Tensor:
    """Zeros [capacity, heads, length, size], as the prefix's keys or values [V, heads, P, size] are."""
    return prefix.new_zeros(capacity, prefix.shape[1], length, prefix.shape[3])

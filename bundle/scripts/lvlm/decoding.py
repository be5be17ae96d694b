"""Writing completions: many sequences behind one prefilled prefix, token by token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase, Qwen3VLForConditionalGeneration

from ..constrained.token_choices import ConstrainedAnswer, TokenChoices
from .encoded_volume import EncodedVolume, hidden_states, prefilled
from .network_state import where_weights_are
from .sampling import Sampling
from .split_attention import LayerPrefix
from .static_sequences import StaticSequences, left_padded, rows_of_graph

_logger = logging.getLogger(__name__)

# Number of sequences that are decoded together; more are taken in turns.
_MAX_DECODED_TOGETHER = 128
# Share of the free memory of a GPU that sequences may take; and what they may take on a CPU.
_SHARE_OF_FREE_MEMORY = 0.5
_BYTES_ON_CPU = 4 * 2**30
# Graphs serve sequences of up to a multiple of this length, so that queries of other lengths find them again.
_LENGTH_STEP = 64
# Tokens between two looks for sequences that have ended: a look makes a GPU wait for the host.
_TOKENS_BETWEEN_LOOKS = 8

Watch = Callable[[torch.Tensor], None]
"""Is called with the ids, int64 [n], that the first sequence that is still written has so far."""


@dataclass(frozen=True)
class Completion:
    """What the model wrote.

    Args:
        text: without the end token; everything else verbatim.
        ids: int64 [n], with the end token if it came.
        finished: whether the end token came within the limit.
        entropy: of the distribution that a token is drawn from at temperature 1; mean over the tokens, in nats.
    """

    text: str
    ids: torch.Tensor
    finished: bool
    entropy: float = float("nan")


class KeptSequences:
    """The buffers of the last call on a GPU, with their graphs; the next call of that shape goes on with them.

    Only the last ones: so the memory is that of one call. A copy of a network starts without.
    """

    def __init__(self) -> None:
        self._shape: Hashable = None
        self._sequences: StaticSequences | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptSequences:
        return KeptSequences()

    def get(self, shape: Hashable, capacity: int, length: int, make: Callable[[], StaticSequences]) -> StaticSequences:
        """Those of the last call if they were made for this shape and are large enough, else new ones."""
        kept = self._sequences
        if kept is None or self._shape != shape or kept.capacity < capacity or kept.length < length:
            self._sequences = kept = None  # their memory is free before others are made
            self._sequences, self._shape = make(), shape
        return self._sequences


@dataclass(frozen=True)
class Decoder:
    """Writes completions behind prefixes.

    Args:
        base: the network.
        tokenizer: of the network.
        sampling: how tokens are chosen.
        max_new_tokens: longest completion.
        generator: for sampling, on the network's device.
        kept: where the graphs of the last call are; None decodes without graphs.
        choices: of the tokens of valid answers, whose limit is `max_new_tokens`; None lets all tokens come.
        on_text: see `lvlm.language_model.LanguageModel.generate`.
    """

    base: Qwen3VLForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    max_new_tokens: int
    generator: torch.Generator | None = None
    kept: KeptSequences | None = None
    choices: TokenChoices | None = None
    on_text: Callable[[str], None] | None = None

    @property
    def graphs(self) -> bool:
        """Whether a token is a CUDA graph."""
        return self.kept is not None and _has_graphs(self.base.device)

    def length(self, tails: Sequence[torch.Tensor]) -> int:
        """Tokens that sequences behind these tails need room for."""
        length = max(len(tail) for tail in tails) + self.max_new_tokens
        if self.graphs:
            return -(-length // _LENGTH_STEP) * _LENGTH_STEP
        # Runs of unequal lengths leave gaps.
        return length if self.choices is None else length + self.max_new_tokens

    def complete(
        self,
        prefix: Sequence[LayerPrefix],
        first_position: int,
        tails: Sequence[torch.Tensor],
        copies: torch.Tensor,
        length: int,
        padding: torch.Tensor | None = None,
    ) -> list[Completion]:
        """The completions of B sequences, the first of V equal shares of them behind the first of V prefixes.

        Args:
            prefix: keys and values of V prefixes, of each layer.
            first_position: of a tail.
            tails: V * K, int64 [n] each.
            copies: int64 [B], of each sequence its tail; equally many of each share.
            length: see `length`.
            padding: bool [B], sequences that are there for equal shares alone and have no completion; None: none.
        """
        sequences = self._sequences(prefix, len(copies), length)
        ids, present = left_padded(tails)
        logits = _begin(sequences, prefix, first_position, ids, present, copies.to(ids.device))
        if padding is not None:
            sequences.ended[: len(padding)] = padding.to(ids.device)
        watch: Watch | None = None
        if self.on_text is not None:
            watch = lambda ids: self.on_text(_text(ids, sequences.ends, self.tokenizer))  # noqa: E731
        if self.choices is None:
            written = _write(sequences, logits, self.generator, watch)
        else:
            answers = [ConstrainedAnswer(self.choices) for _ in copies]
            written = _write_constrained(sequences, logits, answers, self.generator, watch)
        # Padding has written nothing.
        return [_completion(ids, entropy, sequences.ends, self.tokenizer) for ids, entropy in written if len(ids)]

    def _sequences(self, prefix: Sequence[LayerPrefix], count: int, length: int) -> StaticSequences:
        ends, restricted = _end_ids(self.base, self.tokenizer), self.choices is not None

        def make(capacity: int) -> StaticSequences:
            banned = torch.tensor(_vision_ids(self.base), device=self.base.device)
            arguments = (length, self.max_new_tokens, self.sampling, ends, banned, self.graphs, restricted)
            return StaticSequences(self.base, prefix, capacity, *arguments)

        if self.kept is None or not self.graphs:
            return make(count)
        shared = prefix[0][0].shape
        capacity = shared[0] * rows_of_graph(count // shared[0])
        shape = (*(where_weights_are(self.base), shared, self.max_new_tokens, self.sampling), tuple(ends.tolist()))
        return self.kept.get((*shape, restricted), capacity, length, partial(make, capacity))


@torch.no_grad()
def decode(
    base: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    volume: EncodedVolume,
    tails: Sequence[torch.Tensor],
    num_samples: int,
    sampling: Sampling,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
    kept: KeptSequences | None = None,
    choices: TokenChoices | None = None,
    on_text: Callable[[str], None] | None = None,
) -> list[list[Completion]]:
    """Writes completions behind a volume's prefix and a query; the prefix and each query are computed once.

    On a GPU a token is a CUDA graph, if they may be kept. More sequences than its free memory holds, or than
    128, are decoded in turns.

    Args:
        volume: the prefix.
        tails: K queries, each with what makes it the assistant's turn, int64 [n].
        num_samples: G completions of each.
        base, tokenizer, sampling, max_new_tokens, generator, kept, choices, on_text: see `Decoder`.

    Returns:
        K lists of G completions.
    """
    if len(tails) == 0:
        return []
    decoder = Decoder(base, tokenizer, sampling, max_new_tokens, generator, kept, choices, on_text)
    return decode_behind(decoder, prefilled(base, volume), int(volume.position_ids.max()) + 1, tails, num_samples)


def decode_behind(
    decoder: Decoder,
    prefix: Sequence[LayerPrefix],
    first_position: int,
    tails: Sequence[torch.Tensor],
    num_samples: int,
) -> list[list[Completion]]:
    """The same behind a prefix that was prefilled, whose end is at the position before `first_position`."""
    if decoder.choices is not None:
        beginning = ConstrainedAnswer(decoder.choices).ids
        tails = [torch.cat([tail, tail.new_tensor(beginning)]) for tail in tails]
    length = decoder.length(tails)
    tail_of = torch.arange(len(tails)).repeat_interleave(num_samples)  # of each completion
    together = _decoded_together(decoder.base, prefix, length, len(tail_of))
    completions: list[Completion] = []
    for part in tail_of.split(together):
        own = tails[part[0] : part[-1] + 1]
        completions += decoder.complete(prefix, first_position, own, part - part[0], length)
    return [completions[start : start + num_samples] for start in range(0, len(completions), num_samples)]


def _begin(
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


def _write(
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


def _write_constrained(
    sequences: StaticSequences,
    logits: torch.Tensor,
    answers: Sequence[ConstrainedAnswer],
    generator: torch.Generator | None,
    watch: Watch | None = None,
) -> list[tuple[torch.Tensor, float]]:
    """As `_write`, for tokens that `answers` choose from: the host sees each token, to say what may come next.

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


def _has_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


def volumes_together(decoder: Decoder, prefix: Sequence[LayerPrefix], length: int, count: int) -> int:
    """How many volumes with such a prefix and `count` sequences of a length are decoded at a time, 1 at least."""
    size, limit = _memory(decoder.base, prefix, length)
    of_prefix = sum(one[0].nbytes for layer in prefix for one in layer)
    if decoder.graphs:
        count = rows_of_graph(count)
    return max(1, min(_MAX_DECODED_TOGETHER // count, int(limit // (of_prefix + count * size))))


def _memory(base: Qwen3VLForConditionalGeneration, prefix: Sequence[LayerPrefix], length: int) -> tuple[float, float]:
    """Bytes that a sequence takes, and that all of them may take."""
    own = sum(one[0, :, 0].nbytes for layer in prefix for one in layer) * length
    # Logits, noise, and what choosing a token makes of them, in float32.
    size = own + 6 * 4 * base.config.get_text_config().vocab_size
    if base.device.type != "cuda":
        return size, _BYTES_ON_CPU
    unused = torch.cuda.memory_reserved(base.device) - torch.cuda.memory_allocated(base.device)
    return size, _SHARE_OF_FREE_MEMORY * (torch.cuda.mem_get_info(base.device)[0] + unused)


def _decoded_together(
    base: Qwen3VLForConditionalGeneration, prefix: Sequence[LayerPrefix], length: int, wanted: int
) -> int:
    """How many sequences of a length are decoded at a time; says so in the log when memory is what limits them."""
    size, limit = _memory(base, prefix, length)
    together = max(1, min(_MAX_DECODED_TOGETHER, int(limit // size)))
    if together < min(wanted, _MAX_DECODED_TOGETHER):
        _logger.warning(
            "%d completions of up to %d tokens take %.1f MiB each, too much for %.1f MiB at a time; they are written "
            "%d at a time.",
            *(wanted, length, size / 2**20, limit / 2**20, together),
        )
    return together


def _completion(
    ids: torch.Tensor, entropy: float, ends: torch.Tensor, tokenizer: PreTrainedTokenizerBase
) -> Completion:
    finished = _has_ended(ids, ends)
    return Completion(text=_text(ids, ends, tokenizer), ids=ids, finished=finished, entropy=entropy)


def _has_ended(ids: torch.Tensor, ends: torch.Tensor) -> bool:
    return len(ids) > 0 and bool(torch.isin(ids[-1].cpu(), ends.cpu()))


def _text(ids: torch.Tensor, ends: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> str:
    # Cut at the end token by id and keep all else: skip_special_tokens takes <think> away with some tokenizers.
    text_ids = ids[:-1] if _has_ended(ids, ends) else ids
    return tokenizer.decode(text_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _vision_ids(base: Qwen3VLForConditionalGeneration) -> list[int]:
    config = base.config
    return [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]


def _end_ids(base: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    configured = base.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return torch.tensor(
        sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None}),
        dtype=torch.long,
        device=base.device,
    )

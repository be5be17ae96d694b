"""Writing completions: many sequences behind one prefilled prefix."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ...constrained.token_choices import ConstrainedAnswer, TokenChoices
from ..architecture import QwenVL
from ..encoded_volume import EncodedVolume, prefilled
from ..network_state import where_weights_are
from ..sampling import Sampling
from ..split_attention import LayerPrefix
from .completion import Completion, completion_of, text_of
from .cuda_graph import has_graphs, rows_of_graph
from .memory import sequences_together
from .static_sequences import StaticSequences, left_padded
from .writing import Watch, begin, write, write_constrained

# Graphs serve sequences of up to a multiple of this length, so that queries of other lengths find them again.
_LENGTH_STEP = 64


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
        on_text: see `language_model.LanguageModel.generate`.
    """

    base: QwenVL
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
        return self.kept is not None and has_graphs(self.base.device)

    @property
    def ends(self) -> torch.Tensor:
        """int64 [n], tokens that end a completion."""
        configured = self.base.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        known = {end for end in [*ends, self.tokenizer.eos_token_id] if end is not None}
        return torch.tensor(sorted(known), dtype=torch.long, device=self.base.device)

    @property
    def banned(self) -> torch.Tensor:
        """int64 [n], tokens that are never written: they stand for images."""
        config = self.base.config
        images = (config.image_token_id, config.video_token_id)
        return torch.tensor(
            [*images, config.vision_start_token_id, config.vision_end_token_id], device=self.base.device
        )

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
        logits = begin(sequences, prefix, first_position, ids, present, copies.to(ids.device))
        if padding is not None:
            sequences.ended[: len(padding)] = padding.to(ids.device)
        watch: Watch | None = None
        if self.on_text is not None:
            watch = lambda ids: self.on_text(text_of(ids, sequences.ends, self.tokenizer))  # noqa: E731
        if self.choices is None:
            written = write(sequences, logits, self.generator, watch)
        else:
            answers = [ConstrainedAnswer(self.choices) for _ in copies]
            written = write_constrained(sequences, logits, answers, self.generator, watch)
        # Padding has written nothing.
        return [completion_of(ids, entropy, sequences.ends, self.tokenizer) for ids, entropy in written if len(ids)]

    def _sequences(self, prefix: Sequence[LayerPrefix], count: int, length: int) -> StaticSequences:
        ends, restricted = self.ends, self.choices is not None

        def make(capacity: int) -> StaticSequences:
            arguments = (length, self.max_new_tokens, self.sampling, ends, self.banned, self.graphs, restricted)
            return StaticSequences(self.base, prefix, capacity, *arguments)

        if self.kept is None or not self.graphs:
            return make(count)
        shared = prefix[0][0].shape
        capacity = shared[0] * rows_of_graph(count // shared[0])
        shape = (*(where_weights_are(self.base), shared, self.max_new_tokens, self.sampling), tuple(ends.tolist()))
        return self.kept.get((*shape, restricted), capacity, length, partial(make, capacity))


@torch.no_grad()
def decode(
    decoder: Decoder, volume: EncodedVolume, tails: Sequence[torch.Tensor], num_samples: int
) -> list[list[Completion]]:
    """Writes completions behind a volume's prefix and a query; the prefix and each query are computed once.

    On a GPU a token is a CUDA graph, if they may be kept. More sequences than its free memory holds, or than
    128, are decoded in turns.

    Args:
        decoder: how.
        volume: the prefix.
        tails: K queries, each with what makes it the assistant's turn, int64 [n].
        num_samples: G completions of each.

    Returns:
        K lists of G completions.
    """
    if len(tails) == 0:
        return []
    first_position = int(volume.position_ids.max()) + 1
    return decode_behind(decoder, prefilled(decoder.base, volume), first_position, tails, num_samples)


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
    together = sequences_together(decoder.base, prefix, length, len(tail_of))
    completions: list[Completion] = []
    for part in tail_of.split(together):
        own = tails[part[0] : part[-1] + 1]
        completions += decoder.complete(prefix, first_position, own, part - part[0], length)
    return [completions[start : start + num_samples] for start in range(0, len(completions), num_samples)]

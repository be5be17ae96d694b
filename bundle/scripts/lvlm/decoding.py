"""Writing completions: many sequences behind one prefilled prefix, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import DynamicCache, PreTrainedTokenizerBase, Qwen3VLForConditionalGeneration

from .encoded_volume import EncodedVolume, hidden_states
from .split_attention import LayerPrefix

# Number of sequences that are decoded together; more are taken in turns.
_MAX_DECODED_TOGETHER = 128


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


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the most probable token (greedy); above, samples.
        top_p: keep the smallest set of tokens with this total probability; 1 keeps all.
        top_k: keep this many tokens; 0 keeps all.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(f"Need temperature >= 0, 0 < top_p <= 1 and top_k >= 0, got {self}.")

    def choose(self, logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Token ids int64 [B] from logits float [B, vocabulary]."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        ids = None  # of the columns, when they are not all tokens in their order
        if self.top_k or self.top_p < 1:  # the most probable first
            logits, ids = logits.topk(min(self.top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
        probabilities = (logits / self.temperature).softmax(dim=-1)
        if self.top_p < 1:
            before = probabilities.cumsum(dim=-1) - probabilities
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        drawn = torch.multinomial(probabilities, 1, generator=generator)
        return (drawn if ids is None else ids.gather(1, drawn))[:, 0]


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
) -> list[list[Completion]]:
    """Writes completions behind a volume's prefix and a query; the prefix and each query are computed once.

    Args:
        base: the network.
        tokenizer: of the network.
        volume: the prefix.
        tails: K queries, each with what makes it the assistant's turn, int64 [n].
        num_samples: G completions of each.
        sampling: how tokens are chosen.
        max_new_tokens: longest completion.
        generator: for sampling, on the network's device.

    Returns:
        K lists of G completions.
    """
    prefilled = DynamicCache(config=base.config.get_text_config())
    hidden_states(base, volume.prefix_ids[None], volume.position_ids[:, None], volume=volume, cache=prefilled)
    prefix = [(layer.keys, layer.values) for layer in prefilled.layers]
    first_position = int(volume.position_ids.max()) + 1
    ends = _end_ids(base, tokenizer)
    tail_of = torch.arange(len(tails)).repeat_interleave(num_samples)  # of each completion
    completions: list[Completion] = []
    for start in range(0, len(tail_of), _MAX_DECODED_TOGETHER):
        part = tail_of[start : start + _MAX_DECODED_TOGETHER]
        ids, present = _left_padded(tails[part[0] : part[-1] + 1])
        sequences = _Sequences(base, prefix, first_position, len(ids))
        logits = sequences.append(ids, present)
        copies = (part - part[0]).to(logits.device)
        sequences.select(copies)
        written = _write(sequences, logits[copies], sampling, ends, max_new_tokens, generator)
        completions += [_completion(ids, entropy, ends, tokenizer) for ids, entropy in written]
    return [completions[start : start + num_samples] for start in range(0, len(completions), num_samples)]


class _Sequences:
    """B sequences behind a shared prefix, with keys and values of their own; those of the prefix stay where they are.

    Args:
        base: the network.
        prefix: keys and values of the prefix, of each layer.
        first_position: of the token behind the prefix.
        count: B.
    """

    def __init__(
        self, base: Qwen3VLForConditionalGeneration, prefix: Sequence[LayerPrefix], first_position: int, count: int
    ) -> None:
        self.base = base
        self.prefix = prefix
        self.cache = DynamicCache(config=base.config.get_text_config())
        self.present = torch.zeros(count, 0, dtype=torch.bool, device=base.device)  # [B, n], False at padding
        self.position = torch.full((count,), first_position, device=base.device)  # of the next token
        self.banned = torch.tensor(_vision_ids(base), device=base.device)

    def append(self, ids: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Takes ids [B, t], where present [B, t], and gives logits float32 [B, vocabulary] of the next token."""
        self.present = torch.cat([self.present, present], dim=1)
        length, total = ids.shape[1], self.present.shape[1]
        causal = torch.ones(length, total, dtype=torch.bool, device=ids.device).tril(total - length)
        positions = self.position[:, None] - 1 + present.cumsum(dim=1)
        self.position = positions[:, -1] + 1
        hidden = hidden_states(
            self.base,
            ids,
            positions.expand(3, -1, -1),
            attention_mask=self.present[:, None, None] & causal,
            cache=self.cache,
            prefix=self.prefix,
        )
        logits = self.base.lm_head(hidden[:, -1]).float()
        logits[:, self.banned] = -torch.inf
        return logits

    def select(self, index: torch.Tensor) -> None:
        """Goes on with those of an index int64 [B'], which may repeat."""
        self.cache.batch_select_indices(index)
        self.present, self.position = self.present[index], self.position[index]


def _write(
    sequences: _Sequences,
    logits: torch.Tensor,
    sampling: Sampling,
    ends: torch.Tensor,
    max_new_tokens: int,
    generator: torch.Generator | None,
) -> list[tuple[torch.Tensor, float]]:
    """What each sequence goes on with, int64 [n] with the end token, on the CPU, and the mean entropy of these tokens.

    A sequence that has ended is not decoded on.
    """
    written = torch.full((len(logits), max_new_tokens), -1, device=logits.device)
    entropy = torch.zeros(len(logits), device=logits.device)  # sum over the tokens
    rows = torch.arange(len(logits), device=logits.device)  # those that have not ended
    for step in range(max_new_tokens):
        entropy[rows] += torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
        chosen = sampling.choose(logits, generator)
        written[rows, step] = chosen
        goes_on = (~torch.isin(chosen, ends)).nonzero()[:, 0]
        if step + 1 == max_new_tokens or len(goes_on) == 0:
            break
        if len(goes_on) < len(rows):
            sequences.select(goes_on)
            rows, chosen = rows[goes_on], chosen[goes_on]
        logits = sequences.append(chosen[:, None], torch.ones_like(chosen[:, None], dtype=torch.bool))
    found = [row[row >= 0] for row in written.cpu()]
    return [(row, total / len(row)) for row, total in zip(found, entropy.tolist(), strict=True)]


def _left_padded(tails: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids int64 [B, n] and where they are, bool [B, n]."""
    longest = max(len(tail) for tail in tails)
    ids = torch.stack([F.pad(tail, (longest - len(tail), 0)) for tail in tails])
    lengths = torch.tensor([len(tail) for tail in tails], device=ids.device)
    return ids, torch.arange(longest, device=ids.device) >= longest - lengths[:, None]


def _completion(
    ids: torch.Tensor, entropy: float, ends: torch.Tensor, tokenizer: PreTrainedTokenizerBase
) -> Completion:
    finished = bool(torch.isin(ids[-1], ends.cpu()))
    # Cut at the end token by id and keep all else: skip_special_tokens takes <think> away with some tokenizers.
    text_ids = ids[:-1] if finished else ids
    text = tokenizer.decode(text_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Completion(text=text, ids=ids, finished=finished, entropy=entropy)


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

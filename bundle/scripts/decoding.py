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
    sampling: Sampling,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
) -> list[Completion]:
    """Writes a completion behind the volume's prefix, which is computed once, and each tail.

    Args:
        base: the network.
        tokenizer: of the network.
        volume: the prefix.
        tails: int64 [n] each: the query and what makes it the assistant's turn.
        sampling: how tokens are chosen.
        max_new_tokens: longest completion.
        generator: for sampling, on the network's device.
    """
    prefilled = DynamicCache(config=base.config.get_text_config())
    hidden_states(base, volume.prefix_ids[None], volume.position_ids[:, None], volume=volume, cache=prefilled)
    prefix = [(layer.keys, layer.values) for layer in prefilled.layers]
    first_position = int(volume.position_ids.max()) + 1
    ends = _end_ids(base, tokenizer)
    completions: list[Completion] = []
    for start in range(0, len(tails), _MAX_DECODED_TOGETHER):
        part = tails[start : start + _MAX_DECODED_TOGETHER]
        rows = _continue(base, prefix, first_position, part, sampling, ends, max_new_tokens, generator)
        completions += [_completion(ids, entropy, ends, tokenizer) for ids, entropy in rows]
    return completions


def _continue(
    base: Qwen3VLForConditionalGeneration,
    prefix: Sequence[LayerPrefix],
    first_position: int,
    tails: Sequence[torch.Tensor],
    sampling: Sampling,
    ends: torch.Tensor,
    max_new_tokens: int,
    generator: torch.Generator | None,
) -> list[tuple[torch.Tensor, float]]:
    """What is written behind each tail, int64 [n] with the end token, on the CPU, and the mean entropy of its tokens.

    Tails are left-padded to one length. Each sequence has keys and values of its own, until it ends; those of the
    prefix stay where they are.
    """
    device = ends.device
    longest = max(len(tail) for tail in tails)
    ids = torch.zeros(len(tails), longest, dtype=torch.long, device=device)
    present = torch.zeros(len(tails), longest, dtype=torch.bool, device=device)
    for row, tail in enumerate(tails):
        ids[row, longest - len(tail) :] = tail.to(device)
        present[row, longest - len(tail) :] = True
    positions = first_position - 1 + present.cumsum(dim=1)
    mask = present[:, None, None] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    banned = torch.tensor(_vision_ids(base), device=device)
    cache = DynamicCache(config=base.config.get_text_config())
    written = torch.full((len(tails), max_new_tokens), -1, device=device)
    entropy = torch.zeros(len(tails), device=device)  # sum over the tokens
    rows = torch.arange(len(tails), device=device)  # those that have not ended
    for step in range(max_new_tokens):
        hidden = hidden_states(base, ids, positions.expand(3, -1, -1), attention_mask=mask, cache=cache, prefix=prefix)
        logits = base.lm_head(hidden[:, -1]).float()
        logits[:, banned] = -torch.inf
        entropy[rows] += torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
        chosen = sampling.choose(logits, generator)
        written[rows, step] = chosen
        goes_on = ~torch.isin(chosen, ends)
        if not goes_on.any():
            break
        if not goes_on.all():
            cache.batch_select_indices(goes_on.nonzero()[:, 0])
        rows, ids, positions = rows[goes_on], chosen[goes_on, None], positions[goes_on, -1:] + 1
        mask = F.pad(mask[goes_on, :, -1:], (0, 1), value=True)
    found = [row[row >= 0] for row in written.cpu()]
    return [(row, total / len(row)) for row, total in zip(found, entropy.tolist(), strict=True)]


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

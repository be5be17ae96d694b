"""Completions one after another, each behind its own whole prompt: the model's own forward and cache, nothing shared.

For language models that cannot take a shared prefix, see `architecture.why_no_shared_prefix`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from ..encoded_volume import EncodedVolume, hidden_states
from .completion import Completion, completion_of, text_of
from .decoder import Decoder


@torch.no_grad()
def decode_one_by_one(
    decoder: Decoder, volume: EncodedVolume, tails: Sequence[torch.Tensor], num_samples: int
) -> list[list[Completion]]:
    """What `decode` writes, without its graphs; arguments and result are the same."""
    return [[_completion(decoder, volume, tail) for _ in range(num_samples)] for tail in tails]


def _completion(decoder: Decoder, volume: EncodedVolume, tail: torch.Tensor) -> Completion:
    base, banned, ends = decoder.base, decoder.banned, decoder.ends
    first = int(volume.position_ids.max()) + 1
    positions = (first + torch.arange(len(tail), device=tail.device)).expand(3, -1)
    cache = DynamicCache(config=base.config.get_text_config())
    hidden = hidden_states(
        base,
        torch.cat([volume.prefix_ids, tail])[None],
        torch.cat([volume.position_ids, positions], dim=1)[:, None],
        volume=volume,
        cache=cache,
    )
    noise = torch.ones(1, decoder.sampling.candidates(base.config.get_text_config().vocab_size), device=tail.device)
    written: list[torch.Tensor] = []
    entropy = 0.0
    while True:
        logits = base.lm_head(hidden[:, -1]).float().index_fill_(1, banned, -torch.inf)
        entropy += float(torch.special.entr(logits.softmax(dim=-1)).sum())
        chosen = decoder.sampling.choose(logits, noise.exponential_(generator=decoder.generator))
        written.append(chosen)
        ids = torch.cat(written)
        if decoder.on_text is not None:
            decoder.on_text(text_of(ids, ends, decoder.tokenizer))
        if bool(torch.isin(chosen, ends)) or len(ids) == decoder.max_new_tokens:
            return completion_of(ids.cpu(), entropy / len(ids), ends, decoder.tokenizer)
        position = torch.full((3, 1, 1), first + len(tail) + len(ids) - 1, device=tail.device)
        hidden = hidden_states(base, chosen[None], position, cache=cache)

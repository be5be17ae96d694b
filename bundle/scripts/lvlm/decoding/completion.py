"""What the model wrote: tokens, their text, whether they came to an end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase


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


def completion_of(
    ids: torch.Tensor, entropy: float, ends: torch.Tensor, tokenizer: PreTrainedTokenizerBase
) -> Completion:
    """That of tokens int64 [n]; those of `ends`, int64 [m], end one."""
    finished = _has_ended(ids, ends)
    return Completion(text=text_of(ids, ends, tokenizer), ids=ids, finished=finished, entropy=entropy)


def text_of(ids: torch.Tensor, ends: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> str:
    """Verbatim, without the end token."""
    # Cut at the end token by id and keep all else: skip_special_tokens takes <think> away with some tokenizers.
    text_ids = ids[:-1] if _has_ended(ids, ends) else ids
    return tokenizer.decode(text_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _has_ended(ids: torch.Tensor, ends: torch.Tensor) -> bool:
    return len(ids) > 0 and bool(torch.isin(ids[-1].cpu(), ends.cpu()))

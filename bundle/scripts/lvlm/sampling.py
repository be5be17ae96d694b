"""How the next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch


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

    def candidates(self, vocabulary: int) -> int:
        """Number of tokens that a draw is made from; 0 when nothing is drawn."""
        if self.temperature == 0:
            return 0
        return min(self.top_k or vocabulary, vocabulary)

    def choose(self, logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Takes the next tokens.

        A token is drawn as the largest of probability / noise, which is what `torch.multinomial` computes; with the
        noise given, it waits for no host, and a CUDA graph can hold it.

        Args:
            logits: float [B, vocabulary].
            noise: float [B, `candidates`], exponential with mean 1; not looked at when greedy.

        Returns:
            Token ids, int64 [B].
        """
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        # By hand: transformers' warpers keep all columns, so top-p behind top-k sorts the whole vocabulary once more.
        ids = None  # of the columns, when they are not all tokens in their order
        if self.top_k or self.top_p < 1:  # the most probable first
            logits, ids = logits.topk(self.candidates(logits.shape[-1]), dim=-1)
        probabilities = (logits / self.temperature).softmax(dim=-1)
        if self.top_p < 1:
            before = probabilities.cumsum(dim=-1) - probabilities
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        drawn = (probabilities / noise).argmax(dim=-1, keepdim=True)
        return (drawn if ids is None else ids.gather(1, drawn))[:, 0]

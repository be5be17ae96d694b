"""What inference and evaluation ask of a language model: where another one plugs in.

A config names the class as `network_def`, a `torch.nn.Module` with these methods. `model.VolumeLVLM` is the one that
comes with the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from .sampling import Sampling


class WithText(Protocol):
    """A completion, of which only the text is looked at: reasoning and answer, as `anchor.parse_completion` reads."""

    text: str


class LanguageModel(Protocol):
    """Reads the slices of a volume and writes completions to queries about it."""

    def load(self) -> Any:
        """Reads the weights, if that has not happened yet; what is wrong with them is a ValueError."""

    def encode(self, slices: torch.Tensor) -> Any:
        """Slices float [S, H, W] or [S, 3, H, W] in 0..1 to whatever `generate` takes."""

    def generate(
        self,
        volume: Any,
        queries: Sequence[str],
        *,
        num_samples: int = 1,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Sequence[Sequence[WithText]]:
        """For each of K queries `num_samples` completions.

        Args:
            volume: from `encode`.
            queries: K texts, verbatim from the user: data, which must not form special tokens of a prompt.
            num_samples: given only if several answers are wanted.
            sampling: how tokens are chosen; None: as the model does by itself.
            on_text: given only if somebody watches: called with what is written so far of the first completion, as
                often as the model can. What it raises ends the writing.
        """

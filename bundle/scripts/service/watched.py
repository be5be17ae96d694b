"""The two models with somebody who watches: what they compute of a volume is kept, each token and slice is told of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from ..lvlm.language_model import LanguageModel
from ..lvlm.sampling import Sampling
from .memory import Memory
from .progress import Progress

ENCODED, FEATURES = "encoded volume", "slice features"


class WatchedLanguageModel:
    """A language model, see `LanguageModel`, for one request.

    Args:
        network: the model.
        volume: the key of the volume in the memory.
        memory: keeps what the model encodes.
        progress: is told of the tokens.
    """

    def __init__(self, network: LanguageModel, volume: Hashable, memory: Memory, progress: Progress) -> None:
        self._network, self._volume, self._memory, self._progress = network, volume, memory, progress

    def load(self) -> WatchedLanguageModel:
        """Reads the weights, if that has not happened yet."""
        self._network.load()
        return self

    def encode(self, slices: torch.Tensor) -> Any:
        """As the model's, once for a volume."""
        self._progress.begin("encoding")
        return self._memory.get(self._volume, ENCODED, lambda: self._network.encode(slices))

    def generate(
        self, volume: Any, queries: Sequence[str], *, num_samples: int = 1, sampling: Sampling | None = None
    ) -> Sequence[Sequence[Any]]:
        """As the model's."""
        self._progress.begin("writing")
        several = {} if num_samples == 1 and sampling is None else {"num_samples": num_samples, "sampling": sampling}
        try:
            return self._network.generate(volume, queries, on_text=self._progress.write, **several)
        finally:
            self._memory.measure(self._volume, ENCODED)  # the first query adds keys and values


class WatchedPropagator:
    """MedSAM2, see `PropagatesAnchors`, for one request.

    Args:
        propagator: a `SlicePropagator`.
        volume: the key of the volume in the memory.
        memory: keeps the features of its slices.
        progress: is told of the slices.
    """

    def __init__(self, propagator: Any, volume: Hashable, memory: Memory, progress: Progress) -> None:
        self._propagator, self._volume, self._memory, self._progress = propagator, volume, memory, progress

    def to(self, device: torch.device | str) -> WatchedPropagator:
        """Moves the model; returns self."""
        self._propagator.to(device)
        return self

    def scored_masks(
        self, slices: torch.Tensor, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> Sequence[tuple[torch.Tensor, float]]:
        """As the propagator's."""
        reach = len(slices) - 1 if window is None else window
        self._progress.begin("propagating", sum(_slices_of(len(slices), reach, *anchor) for anchor in anchors))
        features = self._memory.get(self._volume, FEATURES, lambda: self._propagator.encode(slices))
        # The decoder runs once for all objects at one distance from their key slices: a row of its masks is a slice.
        hook = self._propagator.model.mask_decoder.register_forward_hook(
            lambda decoder, inputs, output: self._progress.propagate(len(output[0]))
        )
        try:
            return self._propagator.scored_masks(features, anchors, window)
        finally:
            hook.remove()
            self._memory.measure(self._volume, FEATURES)


def _slices_of(total: int, reach: int, key_index: int, boxes: Sequence[Any], points: Sequence[Any] = ()) -> int:
    """How many slices the objects of an anchor walk through, each its own."""
    return (len(boxes) or len(points)) * (1 + min(key_index, reach) + min(total - 1 - key_index, reach))

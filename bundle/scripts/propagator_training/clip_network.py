"""MedSAM2 unrolled over a clip, for training: prompt on the first slice, memory through the others.

Letters: B clips; P objects of a clip, N = B * P; T slices of a clip, the key slice first; U predictions of an object:
its T slices and one of them once more, with a box of its own; R rows and columns of a slice; n of the image tokens;
m = 4n of the mask logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Sam2VideoModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..medsam2.prompt_points import PromptPoints
from ..medsam2.steps import (
    Decoded,
    ImageFeatures,
    Memory,
    attend,
    decode,
    encode,
    position_encodings,
    remember,
    without_memory,
)

_CERTAIN = 20.0  # logit of a mask that is taken as true
_FARTHEST = 20  # slices by which a clip's key slice may be pretended to lie further away


class ClipPrediction(NamedTuple):
    """U predictions of N objects.

    `logits` [N,U,m,m] without the gate of the object score; `presence` [N,U]; `iou` [N,U]; `slices` [U]: the slice of
    the clip that each is about; `coarse`: pairs (column of U, logits [N,n,n]) of the auxiliary heads.
    """

    logits: Tensor
    presence: Tensor
    iou: Tensor
    slices: list[int]
    coarse: list[tuple[int, Tensor]]


class ClipNetwork(nn.Module):
    """The model and two linear heads that read a coarse mask from its tokens.

    The heads are deep supervision: with them training leaves the all-zero mask about four times faster. They are thrown
    away afterwards.

    Args:
        model: trained in place; parameters that do not require gradients stay as they are.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model.requires_grad_(True)
        # Drawn on the CPU, so that a seed gives the same heads everywhere, then put where the model is.
        self.decoder_head = nn.Linear(model.hidden_dim, 1).to(model.device)
        self.memory_head = nn.Linear(model.hidden_dim, 1).to(model.device)

    def forward(self, image: Tensor, boxes: Tensor, truth: Tensor, truth_share: float = 0.0) -> ClipPrediction:
        """Predict every slice of the clips.

        Args:
            image: [B,T,R,R] in 0..1, R the model's image size.
            boxes: [B,P,T,4] xyxy in pixels; slice 0 is the prompt, one other slice is prompted as well.
            truth: [N,T,m,m] true masks in 0..1 at the logits' resolution.
            truth_share: probability that a slice is remembered with its true mask instead of the predicted one.
        """
        clips, objects, length = boxes.shape[:3]
        model = self.model
        features = encode_pixels(model, image.flatten(0, 1))
        positions = position_encodings(model)
        first = torch.arange(clips, device=image.device).repeat_interleave(objects) * length
        boxes = boxes.flatten(0, 1)
        far = _random_distance(length, model.num_maskmem)
        results: list[Decoded] = []
        coarse: list[tuple[int, Tensor]] = []
        key: Memory | None = None
        tracked: list[Memory] = []
        for t in range(length):
            here = features.take(first + t)
            if key is None:
                tokens = without_memory(model, here.tokens)
            else:
                distance = t + far if t >= model.num_maskmem else t
                most = model.config.max_object_pointers_in_encoder
                tokens = attend(model, here.tokens, positions, key, tracked, most, distance)
                coarse.append((t, self._coarse(self.memory_head, tokens.flatten(2).transpose(1, 2))))
            decoded, head = self._decode(here._replace(tokens=tokens), boxes[:, 0] if t == 0 else None)
            results.append(decoded)
            coarse.append((t, head))
            if t < length - 1:
                memory = self._memory(here.tokens, decoded, truth[:, t], truth_share, is_key=key is None)
                key, tracked = (memory, tracked) if key is None else (key, [*tracked, memory])
        slices = list(range(length))
        if length > 1:
            extra = int(torch.randint(1, length, (1,)))
            here = features.take(first + extra)
            decoded, head = self._decode(here._replace(tokens=without_memory(model, here.tokens)), boxes[:, extra])
            results.append(decoded)
            coarse.append((length, head))
            slices.append(extra)
        return ClipPrediction(
            logits=torch.stack([result.raw_logits for result in results], 1),
            presence=torch.stack([result.presence for result in results], 1),
            iou=torch.stack([result.iou for result in results], 1),
            slices=slices,
            coarse=coarse,
        )

    def _decode(self, features: ImageFeatures, boxes: Tensor | None) -> tuple[Decoded, Tensor]:
        """The decoder's answer and the coarse mask [N,n,n] in its image tokens."""
        with _recorded(self.model.mask_decoder.transformer) as outputs:
            decoded = decode(self.model, features, None if boxes is None else PromptPoints.of_boxes(boxes))
        return decoded, self._coarse(self.decoder_head, outputs[0][1].flatten(0, 1))

    def _coarse(self, head: nn.Linear, tokens: Tensor) -> Tensor:
        """[N,nn,C] -> [N,n,n]."""
        return head(tokens).view(len(tokens), *self.model.prompt_encoder.image_embedding_size)

    def _memory(self, tokens: Tensor, decoded: Decoded, truth: Tensor, truth_share: float, is_key: bool) -> Memory:
        predicted = decoded.logits.detach()
        if is_key:  # as in inference, the prompted mask is remembered as 0/1
            predicted = torch.where(predicted > 0, _CERTAIN, -_CERTAIN)
        taught = torch.rand(len(truth), device=truth.device) < truth_share
        there = torch.where(truth.flatten(1).any(1), 1.0, -1.0)
        mask = torch.where(taught[:, None, None], (2 * truth - 1) * _CERTAIN, predicted)
        presence = torch.where(taught, there, decoded.presence.detach())
        features = remember(self.model, tokens, mask, presence, binary=False, dtype=tokens.dtype)
        return Memory(features, decoded.pointer)


def encode_pixels(model: Sam2VideoModel, image: Tensor) -> ImageFeatures:
    """Features of slices [N,R,R] in 0..1 that have the model's size already."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return encode(model, (image[:, None] - mean) / std)


def _random_distance(length: int, num_maskmem: int) -> int:
    """Half of the time, more slices between the key slice and the end of the clip than there are in it."""
    if length <= num_maskmem or torch.rand(1) < 0.5:
        return 0
    return int(torch.randint(0, _FARTHEST, (1,)))


@contextmanager
def _recorded(module: nn.Module) -> Iterator[list]:
    """Collect the outputs of a module while the context is open."""
    outputs: list = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()

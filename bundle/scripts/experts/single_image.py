"""A SAM on a single image: the image is encoded once, each object is decoded by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from transformers import PreTrainedModel

from ..medsam2.slice_features import checked_slices
from ..propagation import ScoredMask
from ..slice_prompt import SlicePrompt, checked_prompt

_IN_OBJECT = 1


class EncodedImage(NamedTuple):
    """An image as a SAM sees it: its embeddings, its rows and its columns."""

    embeddings: Any
    height: int
    width: int


class SingleImageExpert(ABC):
    """A `experts.expert.SegmentationExpert` for a volume of one slice. Of several masks it gives the one with the best
    predicted IoU.

    Args:
        model: frozen; its device and dtype are used.
        multimask: ask for three masks of an object, as SAM does; False: for one, as MedSAM was trained.
    """

    def __init__(self, model: PreTrainedModel, multimask: bool = True) -> None:
        self.model, self.multimask = model, multimask

    def to(self, device: torch.device | str) -> SingleImageExpert:
        """Moves the model; returns self."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode(self, slices: ArrayLike) -> EncodedImage:
        """Embeddings of an image.

        Args:
            slices: [1,H,W] or [1,3,H,W], float in 0..1; rounded to 8 bits, as MedSAM2 sees it.

        Raises:
            ValueError: several slices, another shape, not finite, or outside 0..1.
        """
        image = checked_slices(slices)
        if len(image) != 1:
            raise ValueError(
                f"{len(image)} slices, and a SAM sees single images; give one, or MedSAM2 as `propagator` for volumes"
            )
        rgb = np.broadcast_to(image[0], (3, *image.shape[-2:]))
        pixels = self._pixels(np.rint(rgb * 255).astype(np.uint8))
        embeddings = self.model.get_image_embeddings(pixels.to(self.model.device, self.model.dtype))
        return EncodedImage(embeddings, *image.shape[-2:])

    @torch.no_grad()
    def scored_masks(
        self, slices: ArrayLike | EncodedImage, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> list[ScoredMask]:
        """For each anchor the union of its objects' masks, bool [1,H,W], and the mean of their predicted IoU.

        Args:
            slices: as for `encode`, or from it.
            anchors: (0, boxes_xyxy_px) or (0, boxes_xyxy_px, points_xy_px), see `slice_prompt.SlicePrompt`.
            window: not used, there is one slice.

        Raises:
            ValueError: see `slice_prompt.checked_prompt`; slices as for `encode`.
        """
        image = slices if isinstance(slices, EncodedImage) else self.encode(slices)
        return [self._scored_mask(image, anchor) for anchor in anchors]

    def masks(
        self, slices: ArrayLike | EncodedImage, anchors: Sequence[tuple[Any, ...]], window: int | None = None
    ) -> list[Tensor]:
        """The masks of `scored_masks`."""
        return [scored.mask for scored in self.scored_masks(slices, anchors, window)]

    def _scored_mask(self, image: EncodedImage, anchor: Sequence[Any]) -> ScoredMask:
        key_index, boxes, *points = anchor
        height, width = image.height, image.width
        prompt = checked_prompt(key_index, boxes, points[0] if points else (), 1, height, width)
        union = torch.zeros(1, height, width, dtype=torch.bool, device=self.model.device)
        expected = []
        for single in prompt.objects:
            mask, predicted_iou = self._object(image, single)
            union |= mask
            expected.append(predicted_iou)
        return ScoredMask(union, sum(expected) / max(len(expected), 1))

    def _object(self, image: EncodedImage, prompt: SlicePrompt) -> tuple[Tensor, float]:
        """Mask [1,H,W] and predicted IoU of a prompt of one object, as transformers' processors hand it over."""
        height, width = image.height, image.width
        scale = torch.tensor(self._size(height, width), dtype=torch.float64).flip(0) / torch.tensor([width, height])
        place = {"device": self.model.device, "dtype": self.model.dtype}
        marks: dict[str, Tensor] = {}
        if prompt.boxes_xyxy_px:
            corners = torch.tensor(prompt.boxes_xyxy_px, dtype=torch.float64).reshape(1, 1, 2, 2) * scale
            marks["input_boxes"] = corners.flatten(2).to(**place)
        if prompt.points_xy_px:
            points = torch.tensor(prompt.points_xy_px, dtype=torch.float64)[None] * scale
            marks["input_points"] = points.to(**place)
            marks["input_labels"] = torch.full(points.shape[:-1], _IN_OBJECT, device=self.model.device)
        found = self.model(image_embeddings=image.embeddings, multimask_output=self.multimask, **marks)
        ious = found.iou_scores[0, 0].float()
        best = int(ious.argmax())
        logits = self._resized(found.pred_masks[0, :, best : best + 1].float(), height, width)
        return logits[0] > 0, float(ious[best])

    @abstractmethod
    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that an image of H rows and W columns has in the model's input."""

    @abstractmethod
    def _pixels(self, rgb: np.ndarray) -> Tensor:
        """An image uint8 [3,H,W] as the model reads it, float [1,3,side,side]."""

    @abstractmethod
    def _resized(self, logits: Tensor, height: int, width: int) -> Tensor:
        """Mask logits [1,1,h,w] on the image's own pixels, [1,1,H,W]."""

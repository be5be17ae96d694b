"""MedSAM2 prompted by a box and points, where nothing but the meaning of a point is trained.

A model that was trained on boxes alone has a random embedding for "a point in the object", and points disturb it. That
embedding is a row of a table of which boxes use other rows: whatever it becomes, a box alone gives the same mask to the
last bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Sam2VideoModel

from ..medsam2.prompt_points import IN_OBJECT, PromptPoints
from ..medsam2.steps import decode, without_memory
from ..targets import inner_points
from .clip_network import ClipPrediction, encode_pixels

_MOST_OFF = 0.1  # of the box's width and height: by how much a point is moved


class PointNetwork(nn.Module):
    """Single slices with a box and two points an object.

    Args:
        model: trained in place, in one row of one table; all else is frozen.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.table = model.prompt_encoder.point_embed.weight.requires_grad_(True)
        trained = torch.zeros(len(self.table), 1, device=self.table.device)
        trained[IN_OBJECT] = 1.0
        self.table.register_hook(lambda gradient: gradient * trained)

    def forward(self, image: Tensor, boxes: Tensor, truth: Tensor, truth_share: float = 0.0) -> ClipPrediction:
        """Predict the objects; see `ClipNetwork.forward`, T is 1 and nothing is remembered."""
        clips, objects = boxes.shape[:2]
        boxes = boxes.flatten(0, 1)[:, 0]
        with torch.no_grad():
            features = encode_pixels(self.model, image.flatten(0, 1))
        here = features.take(torch.arange(clips, device=image.device).repeat_interleave(objects))
        corners = PromptPoints.of_boxes(boxes)
        moved = _MOST_OFF * _sides(boxes) * (2 * torch.rand(len(boxes), 2, 2) - 1).to(boxes)
        xy = torch.cat([corners.xy, self._points(truth[:, 0]) + moved], dim=1)
        prompt = PromptPoints(xy, (*corners.labels, IN_OBJECT, IN_OBJECT))
        decoded = decode(self.model, here._replace(tokens=without_memory(self.model, here.tokens)), prompt)
        return ClipPrediction(
            decoded.raw_logits[:, None], decoded.presence[:, None], decoded.iou[:, None], slices=[0], coarse=[]
        )

    def _points(self, truth: Tensor) -> Tensor:
        """[N,2,2] in pixels of the model's input, from true masks [N,m,m]; zeros where a mask is empty."""
        masks = (truth > 0.5).cpu().numpy()
        found = [inner_points(mask) if mask.any() else np.zeros((2, 2)) for mask in masks]
        scale = self.model.image_size / truth.shape[-1]
        return torch.from_numpy(np.stack(found) * scale).to(truth)


def _sides(boxes: Tensor) -> Tensor:
    """Width and height [N,1,2] of boxes [N,4]."""
    return (boxes[:, 2:] - boxes[:, :2])[:, None]

"""Boxes and points as SAM 2 reads them: one sequence of labelled points for each object.

The two corners of a box come first, with labels 2 and 3, then the points in the object, with label 1. So the official
video predictor and transformers' `Sam2VideoProcessor` write it; the prompt encoder puts a "not a point" behind them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..slice_prompt import SlicePrompt

_CORNERS = (2, 3)
IN_OBJECT = 1
"""Label of a point in the object."""


class PromptPoints(NamedTuple):
    """Sequences of N objects that are marked alike: by a box or not, by the same number of points.

    Args:
        xy: [N,M,2], x along the columns.
        labels: M, those of each sequence.
    """

    xy: Tensor
    labels: tuple[int, ...]

    @classmethod
    def of_boxes(cls, boxes_xyxy: Tensor) -> PromptPoints:
        """Of boxes [N,4]."""
        return cls(boxes_xyxy.reshape(-1, 2, 2), _CORNERS)

    @classmethod
    def of_object(cls, prompt: SlicePrompt) -> PromptPoints:
        """Of a prompt of one object: float64, N = 1, in pixels of the slice."""
        corners = [(x, y) for box in prompt.boxes_xyxy_px for x, y in (box[:2], box[2:])]
        points = [point for of_object in prompt.points_xy_px for point in of_object]
        labels = (*_CORNERS[: len(corners)], *[IN_OBJECT] * len(points))
        return cls(torch.tensor([[*corners, *points]], dtype=torch.float64), labels)

    @property
    def has_box(self) -> bool:
        return self.labels[:2] == _CORNERS

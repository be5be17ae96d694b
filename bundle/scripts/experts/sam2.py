"""SAM 2 (`Sam2Model` of transformers) on a single image.

transformers' processor of it needs torchvision. The same computation is three lines of torch; a test compares them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .single_image import SingleImageExpert


class Sam2Expert(SingleImageExpert):
    """SAM 2 on a single image, which is resized to a square and normalised with ImageNet's mean and deviation."""

    @property
    def _side(self) -> int:
        return self.model.prompt_encoder.input_image_size

    def _size(self, height: int, width: int) -> tuple[int, int]:
        return self._side, self._side

    def _pixels(self, rgb: np.ndarray) -> Tensor:
        # On bytes, as torchvision resizes: the result is rounded to bytes.
        image = torch.from_numpy(np.ascontiguousarray(rgb))[None]
        square = F.interpolate(image, size=(self._side, self._side), mode="bilinear", antialias=True).float() / 255
        mean, deviation = (
            torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        return (square - mean) / deviation

    def _resized(self, logits: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)

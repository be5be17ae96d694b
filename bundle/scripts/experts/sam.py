"""SAM (`SamModel` of transformers): also MedSAM's weights, and SAM-Med2D's without its adapters, in that form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from .single_image import SingleImageExpert


class SamExpert(SingleImageExpert):
    """SAM on a single image: its longer side is resized to the model's, the rest is padded.

    Args:
        model: see `experts.load_sam`.
        processor: transformers' own, of the same folder.
        multimask: see `SingleImageExpert`.
    """

    def __init__(self, model: SamModel, processor: SamImageProcessorPil, multimask: bool = True) -> None:
        super().__init__(model, multimask)
        self.processor = processor

    def _size(self, height: int, width: int) -> tuple[int, int]:
        return self.processor._get_preprocess_shape((height, width), self.processor.size["longest_edge"])

    def _pixels(self, rgb: np.ndarray) -> Tensor:
        image = np.ascontiguousarray(rgb.transpose(1, 2, 0))
        return self.processor(image, input_data_format="channels_last", return_tensors="pt")["pixel_values"]

    def _resized(self, logits: Tensor, height: int, width: int) -> Tensor:
        sizes = torch.tensor([[height, width]]), torch.tensor([self._size(height, width)])
        return self.processor.post_process_masks(logits[None], *sizes, binarize=False)[0]

"""SAM is equal to the way through transformers' own processor."""

import shutil

import numpy as np
import pytest
import torch
from medvol_r1.experts import load_sam
from tiny_sams import PROMPTS, SIDE, own_path, processor_of_sam
from transformers import SamModel, SamProcessor


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_sam_equals_the_way_through_its_processor(folders, image, prompt, multimask):
    boxes, points = PROMPTS[prompt]
    model = SamModel.from_pretrained(folders["sam"]).eval()
    masks, ious = own_path(SamProcessor(processor_of_sam()), model, image, boxes, points, multimask)
    found = load_sam(folders["sam"], multimask).scored_masks(image, [(0, boxes, points)])[0]
    assert len(ious) == (3 if multimask else 1)
    assert torch.equal(found.mask[0], masks[ious.argmax()]) and found.mask.any() and not found.mask.all()
    assert found.predicted_iou == pytest.approx(ious.max().item(), abs=1e-6)


def test_a_preprocessor_of_the_folder_is_heeded(folders, image, tmp_path):
    folder = tmp_path / "medsam"
    shutil.copytree(folders["sam"], folder)
    own = processor_of_sam()
    own.do_normalize = False
    own.save_pretrained(folder)
    pixels = load_sam(folder)._pixels(np.full((3, 8, 8), 51, np.uint8))
    torch.testing.assert_close(pixels, torch.full((1, 3, SIDE, SIDE), 0.2))

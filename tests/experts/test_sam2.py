"""SAM 2 is equal to the way through transformers' own processor."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from medvol_r1.experts import load_sam
from tiny_sams import HEIGHT, PROMPTS, SIDE, WIDTH, own_path
from transformers import Sam2Model
from transformers.models.sam2.processing_sam2 import Sam2Processor


@pytest.mark.parametrize("prompt", PROMPTS)
def test_sam2_reads_prompts_as_its_processor_writes_them(folders, image, prompt):
    """The processor's own prompts; what it does with images needs torchvision, see the next test."""
    boxes, points = PROMPTS[prompt]
    processor = Sam2Processor.__new__(Sam2Processor)
    processor.target_size, processor.point_pad_value = SIDE, -10
    marks = processor(
        original_sizes=[[HEIGHT, WIDTH]],
        input_boxes=[boxes] if boxes else None,
        input_points=[list(points)] if points else None,
        input_labels=[[[1] * len(own) for own in points]] if points else None,
        return_tensors="pt",
    )
    marks = {name: marks[name] for name in ("input_boxes", "input_points", "input_labels") if name in marks}
    expert = load_sam(folders["sam2"])
    pixels = expert._pixels(np.rint(image[0] * 255).astype(np.uint8))
    with torch.no_grad():
        outputs = Sam2Model.from_pretrained(folders["sam2"]).eval()(pixel_values=pixels, **marks)
    best = outputs.iou_scores[0, 0].argmax()
    logits = F.interpolate(outputs.pred_masks[0], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    found = expert.scored_masks(image, [(0, boxes, points)])[0]
    assert outputs.iou_scores.shape[-1] == 3 and found.mask.any() and not found.mask.all()
    assert torch.equal(found.mask[0], logits[0, best] > 0)
    assert found.predicted_iou == pytest.approx(outputs.iou_scores.max().item(), abs=1e-6)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_sam2_equals_the_way_through_its_processor(folders, image, prompt):
    pytest.importorskip("torchvision", reason="transformers' processor of SAM 2 needs torchvision")
    from transformers.models.sam2.image_processing_sam2 import Sam2ImageProcessor

    boxes, points = PROMPTS[prompt]
    processor = Sam2Processor(Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}), target_size=SIDE)
    masks, ious = own_path(processor, Sam2Model.from_pretrained(folders["sam2"]).eval(), image, boxes, points, True)
    found = load_sam(folders["sam2"]).scored_masks(image, [(0, boxes, points)])[0]
    assert torch.equal(found.mask[0], masks[ious.argmax()]) and found.mask.any() and not found.mask.all()
    assert found.predicted_iou == pytest.approx(ious.max().item(), abs=1e-6)


def test_sam2_sees_bytes_that_are_resized_and_normalised(folders):
    expert = load_sam(folders["sam2"])
    grey = np.full((3, HEIGHT, WIDTH), 51, np.uint8)
    # (51 / 255 - .485) / .229, (.2 - .456) / .224, (.2 - .406) / .225 everywhere
    expected = torch.tensor([-1.2445, -1.1429, -0.9156]).reshape(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    torch.testing.assert_close(expert._pixels(grey), expected, rtol=0, atol=1e-4)

"""Tiny SAMs in transformers' form, and the way through transformers' own processors."""

import numpy as np
import torch
from medvol_r1.demo_models.tiny_medsam2 import tiny_config
from transformers import (
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig

SIDE = 64
HEIGHT, WIDTH = 40, 56
BOX, OTHER = [5.0, 6.0, 30.0, 28.0], [20.5, 10.0, 50.0, 39.0]
POINTS = [[12.0, 11.0], [20.5, 20.0]]
PROMPTS = {
    "box": ([BOX], ()),
    "point": ([], [POINTS[:1]]),
    "points": ([], [POINTS]),
    "both": ([BOX], [POINTS]),
}


def processor_of_sam():
    return SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})


def save_sam(folder):
    """A tiny SAM with random weights, whose masks are neither empty nor full."""
    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=32,
        output_channels=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
        global_attn_indexes=[1],
        window_size=4,
        num_pos_feats=16,
        mlp_dim=64,
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32, num_hidden_layers=2
    )
    prompts = SamPromptEncoderConfig(hidden_size=32, image_size=SIDE, patch_size=8)
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    _roughened(model).save_pretrained(folder)
    return folder


def save_sam2(folder):
    """A tiny SAM 2 with random weights."""
    torch.manual_seed(0)
    video = tiny_config(SIDE)
    config = Sam2Config(
        vision_config=video.vision_config.to_dict(),
        prompt_encoder_config=Sam2PromptEncoderConfig(**_plain(video.prompt_encoder_config)).to_dict(),
        mask_decoder_config=Sam2MaskDecoderConfig(**_plain(video.mask_decoder_config)).to_dict(),
    )
    _roughened(Sam2Model(config)).save_pretrained(folder)
    return folder


def _plain(config):
    return {key: value for key, value in config.to_dict().items() if key != "model_type"}


def _roughened(model):
    """Initial weights are so small that all masks look alike."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.mask_decoder.iou_prediction_head.proj_out.bias[-1] += 2  # the best of three masks is not the first
    return model


def own_path(processor, model, image, boxes, points, multimask):
    """All masks [K,H,W] and their predicted IoU [K], as the documentation of transformers has it."""
    shown = np.rint(image[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    inputs = processor(
        images=shown,
        input_boxes=[boxes] if boxes else None,
        input_points=[list(points)] if points else None,
        input_labels=[[[1] * len(own) for own in points]] if points else None,
        return_tensors="pt",
    )
    sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=multimask)
    return processor.post_process_masks(outputs.pred_masks, *sizes)[0][0], outputs.iou_scores[0, 0]

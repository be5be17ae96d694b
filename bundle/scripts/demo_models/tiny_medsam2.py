"""A Sam2Video small enough to train on a CPU: the demo stand-in for MedSAM2, not MedSAM2.

Two million parameters, 96 pixels, the same architecture, loader and driver as the real one. transformers initialises
`Sam2VideoModel` for loading a checkpoint (zeros, untied buffers, std 0.02), from which training does not leave the
all-zero mask for a long time; `initialise` makes the starting point trainable.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

_HIDDEN = 128  # transformers' session cannot split the object pointers of a narrower model
_STAGE_WIDTHS = (32, 64, 128, 192)
_STAGE_BLOCKS = (1, 2, 2, 1)
_STAGE_HEADS = (1, 2, 4, 6)
_PATCH_STRIDE = 2  # masks have half the image's resolution; a stride of 4 caps the Dice of small organs at .82


def build_tiny_medsam2(image_size: int = 96, seed: int = 0) -> Sam2VideoModel:
    """A new tiny model with random, trainable weights.

    Args:
        image_size: side of the input in pixels, a multiple of 32; masks come at half of it, tokens at an eighth.
        seed: of the weights. The caller's random state is left as it was.

    Raises:
        ValueError: image_size is not a positive multiple of 32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return initialise(Sam2VideoModel(tiny_config(image_size)))


def tiny_config(image_size: int = 96) -> Sam2VideoConfig:
    """Configuration of `build_tiny_medsam2`."""
    if image_size < 32 or image_size % 32:
        raise ValueError(f"image_size is {image_size}; give a positive multiple of 32")
    fine = image_size // _PATCH_STRIDE
    tokens = fine // 4
    backbone = Sam2HieraDetConfig(
        hidden_size=_STAGE_WIDTHS[0],
        image_size=[image_size, image_size],
        patch_kernel_size=[5, 5],
        patch_stride=[_PATCH_STRIDE, _PATCH_STRIDE],
        patch_padding=[2, 2],
        blocks_per_stage=list(_STAGE_BLOCKS),
        embed_dim_per_stage=list(_STAGE_WIDTHS),
        num_attention_heads_per_stage=list(_STAGE_HEADS),
        window_size_per_stage=[8, 4, tokens, tokens // 2],
        global_attention_blocks=[sum(_STAGE_BLOCKS[:3]) - 1],
        window_positional_embedding_background_size=[8, 8],
        mlp_ratio=3.0,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=list(_STAGE_WIDTHS[::-1]),
        backbone_feature_sizes=[[fine, fine], [fine // 2, fine // 2], [tokens, tokens]],
        fpn_hidden_size=_HIDDEN,
        fpn_top_down_levels=[0, 1, 2, 3],
    )
    decoder = Sam2VideoMaskDecoderConfig(
        hidden_size=_HIDDEN,
        mlp_dim=256,
        num_attention_heads=4,
        iou_head_hidden_dim=_HIDDEN,
        dynamic_multimask_via_stability=False,
    )
    prompt = Sam2VideoPromptEncoderConfig(hidden_size=_HIDDEN, image_size=image_size, patch_size=image_size // tokens)
    return Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=prompt.to_dict(),
        mask_decoder_config=decoder.to_dict(),
        image_size=image_size,
        multimask_output_in_sam=False,
        multimask_output_for_tracking=False,
        num_maskmem=3,
        memory_attention_hidden_size=_HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_downsample_rate=2,
        memory_attention_feed_forward_hidden_size=256,
        memory_attention_dropout=0.0,
        memory_attention_rope_feat_sizes=[tokens, tokens],
        memory_attention_rope_dropout=0.0,
        memory_encoder_hidden_size=_HIDDEN,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=_HIDDEN,
        memory_fuser_embed_dim=_HIDDEN,
        memory_fuser_intermediate_dim=256,
        memory_fuser_num_layers=1,
    )


@torch.no_grad()
def initialise(model: Sam2VideoModel) -> Sam2VideoModel:
    """Draw all weights anew, in place, from the global random state; returns the model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.reset_parameters()
    _initialise_image_encoder(model)
    _initialise_prompts(model)
    _initialise_decoder(model)
    _initialise_memory(model)
    return model


def _initialise_image_encoder(model: Sam2VideoModel) -> None:
    backbone = model.vision_encoder.backbone
    channels, side = backbone.pos_embed.shape[1], backbone.pos_embed.shape[-1]
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    waves = [f(math.pi * v) for f in (torch.sin, torch.cos) for v in (x, y)]
    smooth = torch.stack([x, y, x * x - 0.5, y * y - 0.5, *waves])
    mixed = torch.randn(channels, len(smooth)) / len(smooth) ** 0.5 @ smooth.flatten(1)
    backbone.pos_embed.copy_(0.4 * mixed.reshape(1, channels, side, side))
    nn.init.normal_(backbone.pos_embed_window, std=0.1)
    for convolution in model.vision_encoder.neck.convs:  # image features must not drown the positions of the prompt
        convolution.weight.mul_(0.3)
        convolution.bias.zero_()


def _initialise_prompts(model: Sam2VideoModel) -> None:
    # Axis-aligned Fourier features from 1/8 to 2.8 periods, x and y in turn, shared by points and the image grid.
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    frequencies = torch.logspace(-3, 1.5, matrix.shape[1] // 2, base=2.0)
    matrix.zero_()
    matrix[0, 0::2] = frequencies
    matrix[1, 1::2] = frequencies
    model.shared_image_embedding.positional_embedding.copy_(matrix)
    for embedding in (model.prompt_encoder.point_embed, model.prompt_encoder.not_a_point_embed):
        nn.init.normal_(embedding.weight, std=0.5)
    nn.init.normal_(model.prompt_encoder.no_mask_embed.weight, std=0.02)


def _initialise_decoder(model: Sam2VideoModel) -> None:
    decoder = model.mask_decoder
    for name, module in decoder.named_modules():
        if name.endswith(("cross_attn_token_to_image", "final_attn_token_to_image", "cross_attn_image_to_token")):
            module.k_proj.weight.copy_(module.q_proj.weight)  # equal positions attend to each other from the start
    for embedding in (decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens):
        nn.init.normal_(embedding.weight, std=0.5)
    decoder.pred_obj_score_head.proj_out.bias.fill_(1.0)
    for convolution in (decoder.conv_s0, decoder.conv_s1):  # nor may the skips drown the signal of the prompt
        convolution.weight.mul_(0.3)
        convolution.bias.zero_()
    decoder.upscale_conv2.weight.mul_(2.0)
    for hypernetwork in decoder.output_hypernetworks_mlps:  # starts as a fixed linear read-out
        nn.init.normal_(hypernetwork.proj_out.bias, std=0.3)
        hypernetwork.proj_out.weight.mul_(0.3)
    _attend_to_box_sides(model)


def _attend_to_box_sides(model: Sam2VideoModel, gain: float = 3.0) -> None:
    """Let the first image-to-token attention start as four soft half-planes, one head each.

    Right of and below the box's first corner, left of and above its second; from the lowest Fourier frequency, whose
    phase is pi/4 over half the image.
    """
    attention = model.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    width, channels = attention.q_proj.weight.shape
    head_width = width // attention.num_attention_heads
    cosine = channels // 2  # the encoding is [sines, cosines]; x is column 0, y is column 1
    corners = model.prompt_encoder.point_embed.weight
    # q.k = amplitude^2 (sin a cos b - cos a sin b) = amplitude^2 sin(a - b), then divided by sqrt(head_width)
    amplitude = math.sqrt(4 * gain * math.sqrt(head_width))
    sides = ((0, 1, 2), (1, 1, 2), (0, -1, 3), (1, -1, 3))  # axis, sign, label of the corner
    for head, (axis, sign, label) in enumerate(sides[: attention.num_attention_heads]):
        rows = slice(head * head_width, (head + 1) * head_width)
        query, key = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
        query.mul_(0.3)
        key.mul_(0.3)
        query[:3] = 0
        key[:3] = 0
        query[0, axis] = amplitude
        key[0, cosine + axis] = sign * amplitude
        query[1, cosine + axis] = amplitude
        key[1, axis] = -sign * amplitude
        attention.q_proj.bias[rows.start + 2] = 2.0  # prefers the token of its own corner
        key[2] = (corners[label] - corners[5 - label]) / corners[label].norm()


def _initialise_memory(model: Sam2VideoModel) -> None:
    for name, parameter in model.memory_encoder.memory_fuser.named_parameters():
        if name.endswith(".scale"):
            parameter.fill_(0.5)
    nn.init.normal_(model.memory_temporal_positional_encoding, std=0.1)
    nn.init.normal_(model.no_memory_embedding, std=0.02)
    nn.init.normal_(model.no_object_pointer, std=0.1)
    nn.init.normal_(model.occlusion_spatial_embedding_parameter, std=0.1)
    for layer in model.memory_attention.layers:
        # Under rotary encoding, equal constant queries and keys attend to the same place.
        for projection in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
            projection.bias.fill_(2.2)
            projection.weight.mul_(0.5)

"""The four steps of MedSAM2 on one slice, batched over objects: encode, decode, remember, attend.

transformers' own session walks through a video one object after another and under `inference_mode`. The submodules of
`Sam2VideoModel` take objects on the batch dimension and are differentiable; these functions call them, for the driver
(`propagation`) and for training alike. They change nothing on the model.

Letters: N objects; C channels of the image features (256 in t512); D channels of a memory (64); h, w rows and columns
of the image tokens (32 x 32 in t512), 4h, 4w those of the mask logits; R memories; P object pointers.
References: SAM 2 (Ravi et al. 2024, arXiv:2408.00714), section 4; MedSAM2 (Ma et al. 2025, arXiv:2504.03600).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

from .memory_attention import is_for, memory_attention
from .prompt_points import PromptPoints

# Label of the prompt encoder for "no point here".
_NOT_A_POINT = -1


class ImageFeatures(NamedTuple):
    """Features of N slices: `fine` [N,C/8,4h,4w], `middle` [N,C/4,2h,2w], `tokens` [N,C,h,w]."""

    fine: Tensor
    middle: Tensor
    tokens: Tensor

    def take(self, index: Tensor) -> ImageFeatures:
        """The features of the slices `index` [N]."""
        return ImageFeatures(*(part[index] for part in self))


class Decoded(NamedTuple):
    """What the mask decoder says of N objects on their slices.

    `logits` [N,4h,4w] float32, `NO_OBJ_SCORE` where the object is judged absent; `raw_logits` [N,4h,4w] before that;
    `pointer` [N,C]; `presence` [N] logit that the object is on the slice; `iou` [N] predicted IoU of the mask.
    """

    logits: Tensor
    raw_logits: Tensor
    pointer: Tensor
    presence: Tensor
    iou: Tensor


class Memory(NamedTuple):
    """N objects on one slice as later slices see them: `features` [hw,N,D], `pointer` [N,C].

    Without features (None) it is a slice too far behind for them, of which the pointer is still read (`followed_by`).
    """

    features: Tensor | None
    pointer: Tensor

    def take(self, index: Tensor) -> Memory:
        """The memories of the objects `index` [N]."""
        return Memory(None if self.features is None else self.features[:, index], self.pointer[index])


class Positions(NamedTuple):
    """Sine position encodings, equal for all slices: `tokens` [hw,1,C] of the image, `memory` [hw,1,D]."""

    tokens: Tensor
    memory: Tensor


def position_encodings(model: Sam2VideoModel) -> Positions:
    """Both encodings on the model's device and in its dtype. They take 22 MB a slice in t512: once is enough."""
    height, width = model.prompt_encoder.image_embedding_size

    def of(module: torch.nn.Module, channels: int) -> Tensor:
        grid = module(torch.Size((1, channels, height, width)), model.device, model.dtype)
        return grid.flatten(2).permute(2, 0, 1)

    return Positions(
        of(model.vision_encoder.neck.position_encoding, model.hidden_dim),
        of(model.memory_encoder.position_encoding, model.mem_dim),
    )


def encode(model: Sam2VideoModel, pixels: Tensor) -> ImageFeatures:
    """Image features of slices.

    Args:
        pixels: [N,3,image_size,image_size], normalised with ImageNet's mean and standard deviation.
    """
    fine, middle, tokens = model.vision_encoder(pixels.to(model.dtype), return_dict=True).fpn_hidden_states
    return ImageFeatures(model.mask_decoder.conv_s0(fine), model.mask_decoder.conv_s1(middle), tokens)


def without_memory(model: Sam2VideoModel, tokens: Tensor) -> Tensor:
    """Tokens [N,C,h,w] of a key slice, which has no past: only the learnt "no memory" vector is added."""
    return tokens + model.no_memory_embedding.reshape(1, -1, 1, 1)


def decode(model: Sam2VideoModel, features: ImageFeatures, prompt: PromptPoints | None = None) -> Decoded:
    """Mask of N objects, each on its own slice.

    Where the model's configuration asks for several masks of a prompt (`multimask_min_pt_num` to
    `multimask_max_pt_num` points, the corners of a box counted), it is the one with the best predicted IoU.

    Args:
        features: of the N slices, `tokens` already conditioned by `without_memory` or `attend`.
        prompt: of the N objects, in pixels of the model's input (0..image_size), or None while tracking.
    """
    count, device = len(features.tokens), features.tokens.device
    if prompt is None:
        points = features.tokens.new_zeros(count, 1, 1, 2)
        labels = torch.full((count, 1, 1), _NOT_A_POINT, dtype=torch.int32, device=device)
    else:
        points = prompt.xy.to(features.tokens)[:, None]
        labels = torch.tensor(prompt.labels, dtype=torch.int32, device=device).expand(count, 1, -1)
    several = _asks_for_several_masks(model, 0 if prompt is None else len(prompt.labels))
    sparse, dense = model.prompt_encoder(input_points=points, input_labels=labels, input_boxes=None, input_masks=None)
    masks, ious, mask_tokens, presence = model.mask_decoder(
        image_embeddings=features.tokens,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().expand(count, -1, -1, -1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=several,
        high_resolution_features=[features.fine, features.middle],
    )
    # One prompt an item: drop that dimension, then keep the mask with the best predicted IoU.
    masks, ious, mask_tokens, presence = masks[:, 0].float(), ious[:, 0], mask_tokens[:, 0], presence[:, 0]
    rows = torch.arange(count, device=device)
    best = ious.argmax(-1) if several else torch.zeros_like(rows)
    raw_logits, iou = masks[rows, best], ious[rows, best]
    token = mask_tokens[rows, best if mask_tokens.shape[1] > 1 else torch.zeros_like(best)]

    present = presence > 0
    logits = torch.where(present[:, :, None], raw_logits, NO_OBJ_SCORE)
    weight = present.to(token.dtype)
    pointer = weight * model.object_pointer_proj(token) + (1 - weight) * model.no_object_pointer
    return Decoded(logits, raw_logits, pointer, presence[:, 0], iou)


def remember(
    model: Sam2VideoModel,
    tokens: Tensor,
    logits: Tensor,
    presence: Tensor,
    *,
    binary: bool,
    dtype: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Memory features [hw,N,D] of N objects on their slices.

    Args:
        tokens: [N,C,h,w] image tokens of the slices, not conditioned.
        logits: [N,4h,4w] mask logits (`Decoded.logits`).
        presence: [N] logit that the object is there.
        binary: True for the slice with the box, whose mask is remembered as 0/1; a tracked mask goes through a sigmoid.
        dtype: the official code keeps memories in bfloat16, which parity needs; training uses float32.
    """
    mask = F.interpolate(logits[:, None], size=(model.image_size,) * 2, mode="bilinear", align_corners=False)
    side = 4 * model.prompt_encoder.mask_input_size[0]
    if side != model.image_size:
        mask = F.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    mask = (mask > 0).to(mask.dtype) if binary else mask.sigmoid()
    mask = mask * model.config.sigmoid_scale_for_mem_enc + model.config.sigmoid_bias_for_mem_enc
    features, _ = model.memory_encoder(tokens, mask.to(tokens.dtype))
    if model.occlusion_spatial_embedding_parameter is not None:
        absent = (presence <= 0).to(features.dtype)[:, None, None, None]
        features = features + absent * model.occlusion_spatial_embedding_parameter[..., None, None]
    return features.flatten(2).permute(2, 0, 1).to(dtype)


def attend(
    model: Sam2VideoModel,
    tokens: Tensor,
    positions: Positions,
    key: Memory,
    tracked: Sequence[Memory],
    num_slices: int,
    key_distance: int | None = None,
) -> Tensor:
    """Condition the tokens of N slices on what was seen on the way from their key slices.

    Args:
        tokens: [N,C,h,w].
        positions: see `position_encodings`.
        key: memory of the key slice.
        tracked: memories of the slices between, in the order walked; the last is the neighbour. Those that are not
            read may be left out, see `followed_by`.
        num_slices: slices of the whole volume; up to 16 it sets the time scale of the object pointers.
        key_distance: slices from the key slice; None: all slices between are in `tracked`.

    Returns:
        [N,C,h,w].
    """
    count, channels, height, width = tokens.shape
    memories, places = _spatial_memories(model, positions, key, tracked)
    pointers, pointer_places = _pointers(model, key, tracked, num_slices, key_distance or len(tracked) + 1)
    memory, place = torch.cat([*memories, pointers]).to(tokens.dtype), torch.cat([*places, pointer_places])
    if is_for(model.memory_attention, tokens):
        pixels = tokens.flatten(2).transpose(1, 2)
        seen, place, position = memory.transpose(0, 1), place[:, 0], positions.tokens[:, 0]
        conditioned = memory_attention(model.memory_attention, pixels, position, seen, place, len(pointers))
    else:
        conditioned = model.memory_attention(
            current_vision_features=tokens.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=positions.tokens,
            memory=memory,
            memory_posision_embeddings=place.expand(-1, count, -1),
            num_object_pointer_tokens=len(pointers),
        ).reshape(count, height * width, channels)
    return conditioned.transpose(1, 2).reshape(tokens.shape)


def followed_by(model: Sam2VideoModel, tracked: Sequence[Memory], newest: Memory, num_slices: int) -> list[Memory]:
    """The memories that `attend` reads on the next slice: features of the last slices, pointers of some more.

    Args:
        tracked: before this slice.
        newest: memory of this slice.
        num_slices: slices of the whole volume.
    """
    num_features, num_pointers = model.num_maskmem - 1, _most_pointers(model, num_slices) - 1
    newest_first = [newest, *reversed(tracked)][: max(num_features, num_pointers)]
    far = [memory._replace(features=None) for memory in newest_first[num_features:]]
    return [*reversed(far), *reversed(newest_first[:num_features])]


def _asks_for_several_masks(model: Sam2VideoModel, num_points: int) -> bool:
    config = model.config
    allowed = config.multimask_output_in_sam and (num_points > 0 or config.multimask_output_for_tracking)
    return allowed and config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num


def _spatial_memories(
    model: Sam2VideoModel, positions: Positions, key: Memory, tracked: Sequence[Memory]
) -> tuple[list[Tensor], list[Tensor]]:
    """The key slice and the last `num_maskmem - 1` slices, oldest first: features [hw,N,D] and places [hw,1,D]."""
    times = model.memory_temporal_positional_encoding  # [R,1,1,D]; the last is the key slice's
    memories, places = [key.features], [positions.memory + times[-1]]
    for distance in range(min(model.num_maskmem - 1, len(tracked)), 0, -1):
        memories.append(tracked[-distance].features)
        places.append(positions.memory + times[distance - 1])
    return memories, places


def _most_pointers(model: Sam2VideoModel, num_slices: int) -> int:
    """Object pointers that are read, that of the key slice among them."""
    return min(num_slices, model.config.max_object_pointers_in_encoder)


def _pointers(
    model: Sam2VideoModel, key: Memory, tracked: Sequence[Memory], num_slices: int, key_distance: int
) -> tuple[Tensor, Tensor]:
    """Object pointers [P*C/D,N,D], key slice first, then nearest to farthest, and their places [P*C/D,1,D]."""
    most = _most_pointers(model, num_slices)
    recent = list(tracked)[::-1][: most - 1]
    pointers = torch.stack([key.pointer, *(memory.pointer for memory in recent)])
    count, objects, channels = pointers.shape
    if model.config.enable_temporal_pos_encoding_for_object_pointers:
        distances = torch.tensor([key_distance, *range(1, len(recent) + 1)], device=pointers.device)
        waves = get_1d_sine_pe(distances / float(max(most - 1, 1)), dim=channels).to(pointers.dtype)
        places = model.temporal_positional_encoding_projection_layer(waves)[:, None]
    else:
        places = pointers.new_zeros(count, 1, model.mem_dim)
    if model.mem_dim < channels:  # a pointer is cut into tokens of the memory's width
        pieces = channels // model.mem_dim
        pointers = pointers.reshape(count, objects, pieces, model.mem_dim).transpose(1, 2).flatten(0, 1)
        places = places.repeat_interleave(pieces, 0)
    return pointers, places

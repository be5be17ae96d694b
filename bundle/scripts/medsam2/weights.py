"""MedSAM2 weights as a `transformers.Sam2VideoModel`.

The released checkpoints (bowang-lab/MedSAM2, `sam2.1_hiera_t512`) name their tensors as Meta's sam2 code does. The same
architecture lives in transformers under other names, so a checkpoint is renamed, tensor by tensor, and loaded strictly.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

HOW_TO_GET = (
    "Get the official weights with `hf download wanglab/MedSAM2 MedSAM2_latest.pt --local-dir bundle/models` "
    "(https://huggingface.co/wanglab/MedSAM2), or give a folder written by `save_pretrained`; "
    "the config key that names the weights is `medsam2_path`."
)

# (pattern of the official name, name in transformers); every rule is applied, in this order.
_HEADS = r"object_pointer_proj|mask_decoder\.(?:iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+)"
_MLPS = r"(?:vision_encoder\.backbone\.blocks|mask_decoder\.transformer\.layers)\.\d+\.mlp"
_RENAMES = (
    # image encoder
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
    # memory
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^(memory_attention\.layers\.\d+)\.norm([123])\.", r"\1.layer_norm\2."),
    (r"^memory_attention\.norm\.", "memory_attention.layer_norm."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^(memory_encoder\.)fuser(\.layers\.\d+)\.dwconv\.", r"\1memory_fuser\2.depthwise_conv."),
    (
        r"^(memory_encoder\.)fuser(\.layers\.\d+)\.pwconv([12])\.",
        r"\1memory_fuser\2.pointwise_conv\3.",
    ),
    (r"^(memory_encoder\.)fuser(\.layers\.\d+)\.norm\.", r"\1memory_fuser\2.layer_norm."),
    (r"^(memory_encoder\.)fuser(\.layers\.\d+)\.gamma$", r"\1memory_fuser\2.scale"),
    # prompt encoder
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    # mask decoder
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm([1234])\.", r"\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    # two-layer perceptrons, then three-layer heads (layer 2 before layer 1: the middle one becomes `layers.0`)
    (
        rf"^({_MLPS})\.layers\.0\.",
        r"\1.proj_in.",
    ),
    (
        rf"^({_MLPS})\.layers\.1\.",
        r"\1.proj_out.",
    ),
    (rf"^({_HEADS})\.layers\.0\.", r"\1.proj_in."),
    (rf"^({_HEADS})\.layers\.2\.", r"\1.proj_out."),
    (rf"^({_HEADS})\.layers\.1\.", r"\1.layers.0."),
    # attention outputs of memory attention and two-way transformer
    (r"^((?:memory_attention|mask_decoder\.transformer)\..*)\.out_proj\.", r"\1.o_proj."),
)
_POINT = re.compile(r"^sam_prompt_encoder\.point_embeddings\.(\d+)\.weight$")
_MASK_DOWNSAMPLER = re.compile(r"^memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(weight|bias)$")
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


class WeightFileError(ValueError):
    """A weight file that exists but cannot be used: truncated, of another kind, or of another architecture."""


def load_medsam2(path: str | Path) -> Sam2VideoModel:
    """Load MedSAM2, frozen, in evaluation mode, float32, on the CPU.

    Args:
        path: an official checkpoint (`.pt`, `{"model": state_dict}`), a folder written by `save_pretrained` (its
            weights in one file or in shards), or a `.safetensors` file beside a `config.json`.

    Returns:
        the model with `requires_grad` False on all parameters.

    Raises:
        FileNotFoundError: nothing at `path`; the message says how to get the weights.
        WeightFileError: truncated file, not a checkpoint, or tensors of another architecture.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no MedSAM2 weights at {path}. {HOW_TO_GET}")
    if path.is_dir():
        model = _load_pretrained(path, _weights_of(path))
    elif path.suffix == ".safetensors":
        model = _load_pretrained(path.parent, [path])
    else:
        model = _load_official(path)
    return model.float().eval().requires_grad_(False)


def t512_config() -> Sam2VideoConfig:
    """The official `sam2.1_hiera_t512`: transformers' defaults (Hiera-tiny) at 512 instead of 1024 pixels."""
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(image_size=[512, 512]).to_dict(),
        backbone_feature_sizes=[[128, 128], [64, 64], [32, 32]],
    )
    return Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=512).to_dict(),
        mask_decoder_config=Sam2VideoMaskDecoderConfig().to_dict(),
        image_size=512,
        memory_attention_rope_feat_sizes=[32, 32],
    )


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official state dict to transformers' names (471 tensors -> 469 for t512).

    The four point embeddings become one table, and the random Fourier matrix is stored twice (for points and for the
    image grid). A name without a rule stays as it is, so that a strict load reports it.

    Args:
        state_dict: official names -> tensors.

    Returns:
        transformers' names -> the same tensors.

    Raises:
        WeightFileError: two official names give the same new name.
    """
    converted: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for name, tensor in state_dict.items():
        if point := _POINT.match(name):
            points[int(point[1])] = tensor
            continue
        targets = [_rename(name)]
        if name == _GAUSSIAN:
            targets = [
                "prompt_encoder.shared_embedding.positional_embedding",
                "shared_image_embedding.positional_embedding",
            ]
        for target in targets:
            if target in converted:
                raise WeightFileError(f"the tensor {name!r} gives {target!r}, as another tensor does")
            converted[target] = tensor
    if points:
        converted["prompt_encoder.point_embed.weight"] = torch.cat([points[i] for i in sorted(points)])
    return converted


def _rename(name: str) -> str:
    if downsampler := _MASK_DOWNSAMPLER.match(name):
        index, kind = int(downsampler[1]), downsampler[2]
        # (convolution, norm, activation) four times, then a 1x1 convolution
        part = "final_conv" if index == 12 else f"layers.{index // 3}.{('conv', 'layer_norm', 'activation')[index % 3]}"
        return f"memory_encoder.mask_downsampler.{part}.{kind}"
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _load_official(path: Path) -> Sam2VideoModel:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise WeightFileError(f"{path} is truncated or is not a PyTorch checkpoint ({error}). {HOW_TO_GET}") from error
    state_dict = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state_dict, Mapping) or not all(isinstance(v, Tensor) for v in state_dict.values()):
        raise WeightFileError(f'{path} is not an official checkpoint of the form {{"model": state_dict}}. {HOW_TO_GET}')
    return _filled(t512_config(), convert_official_state_dict(state_dict), path, "sam2.1_hiera_t512")


def _weights_of(folder: Path) -> list[Path]:
    """The files of a folder's weights: one, or all shards of its index."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    try:
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightFileError(f"{index} is not an index of shards ({error!r}). {HOW_TO_GET}") from error


def _load_pretrained(folder: Path, files: Sequence[Path]) -> Sam2VideoModel:
    config_path = folder / "config.json"
    if not config_path.exists():
        raise FileNotFoundError(f"{folder} has no config.json beside its weights. {HOW_TO_GET}")
    try:
        model_type = json.loads(config_path.read_text()).get("model_type")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise WeightFileError(f"{config_path} is not a configuration ({error}). {HOW_TO_GET}") from error
    if model_type != "sam2_video":
        raise WeightFileError(f"{config_path} has another architecture: {model_type!r}, not 'sam2_video'. {HOW_TO_GET}")
    state_dict: dict[str, Tensor] = {}
    for file in files:
        if not file.exists():
            raise FileNotFoundError(f"{folder} has no {file.name} beside its config.json. {HOW_TO_GET}")
        try:
            state_dict |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightFileError(f"{file} is truncated or damaged ({error}). {HOW_TO_GET}") from error
    path = files[0] if len(files) == 1 else folder
    return _filled(Sam2VideoConfig.from_pretrained(folder), state_dict, path, "its config.json")


def _filled(config: Sam2VideoConfig, state_dict: Mapping[str, Tensor], path: Path, architecture: str) -> Sam2VideoModel:
    """A model with exactly these tensors."""
    model = Sam2VideoModel(config)
    own = model.state_dict()
    problems = {
        "missing": own.keys() - state_dict.keys(),
        "unused": state_dict.keys() - own.keys(),
        "of another shape": [k for k in own.keys() & state_dict.keys() if own[k].shape != state_dict[k].shape],
    }
    parts = [f"{len(names)} {what} (e.g. {', '.join(sorted(names)[:3])})" for what, names in problems.items() if names]
    if parts:
        raise WeightFileError(f"{path} does not fit {architecture}: {'; '.join(parts)}. {HOW_TO_GET}")
    model.load_state_dict(state_dict)
    return model

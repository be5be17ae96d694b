"""Weights of a SAM in transformers' form, read strictly."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from transformers import Sam2Model, SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from ..medsam2.weights import WeightFileError
from .sam import SamExpert
from .sam2 import Sam2Expert

_MODELS = {"sam": SamModel, "sam2": Sam2Model}


def load_sam(path: str | Path, multimask: bool = True) -> SamExpert | Sam2Expert:
    """A SAM for single images, frozen, in evaluation mode, float32, on the CPU. Nothing is downloaded.

    Args:
        path: a folder written by `save_pretrained` of `SamModel` or `Sam2Model`; a `preprocessor_config.json` beside
            SAM's weights is heeded.
        multimask: see `experts.single_image.SingleImageExpert`; False for MedSAM.

    Raises:
        FileNotFoundError: no folder, or none with a `config.json`.
        WeightFileError: another architecture, damaged weights, or tensors that are missing, left over (as SAM-Med2D's
            adapters), or of another shape.
    """
    folder = Path(path)
    config_path = folder / "config.json"
    if not config_path.exists():
        raise FileNotFoundError(f"no SAM at {folder}: there is no config.json (config key `sam_path`)")
    try:
        model_type = json.loads(config_path.read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise WeightFileError(f"{config_path} is not a configuration ({error})") from error
    if model_type not in _MODELS:
        raise WeightFileError(
            f"{config_path} has the architecture {model_type!r}; legal are {', '.join(_MODELS)} "
            "(a sam2_video model is read by `medsam2.load_medsam2`)"
        )
    try:
        model, info = _MODELS[model_type].from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightFileError(f"the weights of {folder} cannot be read ({error})") from error
    problems = {"missing": info["missing_keys"], "left over": info["unexpected_keys"]}
    parts = [f"{len(names)} {what} (e.g. {sorted(names)[0]})" for what, names in problems.items() if names]
    if parts:
        raise WeightFileError(f"the weights of {folder} do not fit its config.json: {'; '.join(parts)}")
    model = model.float().eval().requires_grad_(False)
    if model_type == "sam2":
        return Sam2Expert(model, multimask)
    return SamExpert(model, _processor(folder, model.config.vision_config.image_size), multimask)


def _processor(folder: Path, side: int) -> SamImageProcessorPil:
    """That of the folder; without one, SAM's at the model's size."""
    if (folder / "preprocessor_config.json").exists():
        return SamImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return SamImageProcessorPil(size={"longest_edge": side}, pad_size={"height": side, "width": side})

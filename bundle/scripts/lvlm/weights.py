"""Reading Qwen3-VL's weights, with a clear error for what is not one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, Qwen3VLForConditionalGeneration


class WeightsError(ValueError):
    """Weights that are missing, damaged, or of another architecture."""


def load_qwen(path: str, dtype: torch.dtype) -> Qwen3VLForConditionalGeneration:
    """Reads a Qwen3-VL and checks that every weight was there.

    Args:
        path: a local folder in transformers' format, or a hub id.
        dtype: of the weights.

    Raises:
        WeightsError: weights that are missing, damaged, of another architecture, or that do not fit their config.
    """
    hint = (
        "give a local folder in transformers' format (config key `lvlm_path`), or get the paper's model with "
        "`hf download Qwen/Qwen3-VL-4B-Instruct --local-dir DIR`"
    )
    if Path(path).exists() and not (Path(path) / "config.json").is_file():
        raise WeightsError(f"{path!r} holds no config.json; {hint}.")
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"No language model at {path!r}: {_first_line(error)}; {hint}.") from error
    if config.model_type != "qwen3_vl":
        raise WeightsError(f"{path!r} is a {config.model_type!r} model, need 'qwen3_vl'; {hint}.")
    try:
        model, report = Qwen3VLForConditionalGeneration.from_pretrained(
            path, config=config, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
        )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise WeightsError(f"The weights in {path!r} cannot be read: {_first_line(error)}; {hint}.") from error
    wrong = sorted(report["missing_keys"]) + sorted(report["mismatched_keys"]) + sorted(report["unexpected_keys"])
    if wrong:
        raise WeightsError(f"The weights in {path!r} do not fit their config.json ({wrong[0]}, {len(wrong)} in all).")
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

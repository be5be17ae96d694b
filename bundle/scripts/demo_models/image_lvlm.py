"""The demo language model for single images before its training: the shipped one, cut to its first text layers."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration


def ensure_image_lvlm(folder: str | Path, source: str | Path, num_layers: int = 3) -> str:
    """The folder, with a model that sees colours written into it unless one is there already.

    The source knows the questions, the numbers and the organs already. Each layer adds to what the ones before say, so
    the first ones alone still speak; three channels of one window become red, green and blue. Training mends the rest.

    Args:
        folder: for transformers' files.
        source: folder of a small Qwen3-VL.
        num_layers: of its text layers that are kept, from the first on.

    Raises:
        ValueError: fewer than one layer, or more than the source has.
    """
    if (Path(folder) / "config.json").is_file():
        return str(folder)
    model = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    layers, config = model.model.language_model.layers, model.config
    most = len(layers)
    if not 1 <= num_layers <= most:
        raise ValueError(f"num_layers is {num_layers}; {source} has {most} text layers, give 1 to {most}.")
    del layers[num_layers:]
    config.text_config.num_hidden_layers = num_layers
    config.vision_config.channel_ranges = None
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)

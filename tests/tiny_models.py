"""Small random models in the real on-disk format, for tests that need no trained weights."""

from pathlib import Path

import torch
from medvol_r1.demo_models.tiny_lvlm import build_tokenizer, initialise_numbers, tiny_config
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from transformers import Qwen3VLForConditionalGeneration

TEXTS = ["the organ that secretes bile", "show both kidneys", "the liver", "where is the spleen?"]


def save_random_lvlm(folder: Path, seed: int = 0, sharpen: float = 1.0, channel_ranges=None) -> Path:
    """A random Qwen3-VL of 16x16 pixels a visual token; `sharpen` scales its weights so that logits differ clearly."""
    tokenizer = build_tokenizer(TEXTS, vocabulary_size=2500)
    torch.manual_seed(seed)
    config = tiny_config(
        tokenizer,
        hidden_size=96,
        num_layers=3,
        num_heads=4,
        vision_hidden_size=32,
        vision_depth=3,
        image_size=32,
        channel_ranges=channel_ranges,
    )
    model = Qwen3VLForConditionalGeneration(config)
    initialise_numbers(model, tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(sharpen)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_random_models(folder: Path, channel_ranges=None) -> dict[str, str]:
    """Random weights of both models in `lvlm` and `medsam2`; the config keys that name them."""
    save_random_lvlm(folder / "lvlm", channel_ranges=channel_ranges)
    build_tiny_medsam2().save_pretrained(folder / "medsam2")
    return {"lvlm_path": str(folder / "lvlm"), "medsam2_path": str(folder / "medsam2")}

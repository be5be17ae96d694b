"""The demo language model before its training: a small Qwen3-VL that sees finer than `tiny_lvlm`'s."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

from ..queries.bank import all_texts
from .tiny_lvlm import build_tokenizer, initialise_numbers, save_lvlm, tiny_config


def ensure_demo_lvlm(
    folder: str | Path,
    *,
    image_size: int = 128,
    patch_size: int = 8,
    hidden_size: int = 256,
    num_layers: int = 6,
    vision_hidden_size: int = 192,
    vision_depth: int = 6,
    tokenizer_path: str | Path | None = None,
    seed: int = 0,
) -> str:
    """The folder, with an untrained model written into it unless one is there already.

    Args:
        folder: for transformers' files.
        image_size: side of a slice in pixels, a multiple of twice the patch size.
        patch_size: pixels; 2x2 patches become one visual token.
        hidden_size: of the language model, a multiple of 64; heads of 32.
        num_layers: of the language model.
        vision_hidden_size: of the vision tower.
        vision_depth: its blocks.
        tokenizer_path: folder of a tokenizer that was learned before, for that takes half a minute.
        seed: of the random initialisation.
    """
    if (Path(folder) / "config.json").is_file():
        return str(folder)
    if tokenizer_path:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    else:
        tokenizer = build_tokenizer(list(all_texts("train")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = tiny_config(
            tokenizer,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=hidden_size // 32,
            vision_hidden_size=vision_hidden_size,
            vision_depth=vision_depth,
            patch_size=patch_size,
            image_size=image_size,
        )
        model = Qwen3VLForConditionalGeneration(config)
        initialise_numbers(model, tokenizer)
    save_lvlm(model, tokenizer, folder)
    return str(folder)

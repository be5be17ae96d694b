"""Small random models in the real on-disk format, for tests that need no trained weights."""

from pathlib import Path

import torch
from medvol_r1.demo_models.tiny_lvlm import build_tokenizer, initialise_numbers, tiny_config
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

# As Qwen2.5-VL has it: with a system prompt of its own where there is none.
QWEN2_5_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
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
    return _saved(model, tokenizer, sharpen, folder)


def save_random_qwen2_5(folder: Path, seed: int = 0, sharpen: float = 1.0, **text_config) -> Path:
    """A random Qwen2.5-VL of 28x28 pixels a visual token, whose vision tower looks through windows of 2x2 tokens in two
    of its three blocks; `text_config` changes the language model."""
    tokenizer = build_tokenizer(TEXTS, vocabulary_size=2500)
    tokenizer.chat_template = QWEN2_5_CHAT_TEMPLATE
    ids = tokenizer.convert_tokens_to_ids
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 4, 4]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            **text_config,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 96,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    return _saved(Qwen2_5_VLForConditionalGeneration(config), tokenizer, sharpen, folder)


def _saved(model, tokenizer, sharpen: float, folder: Path) -> Path:
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

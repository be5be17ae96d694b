"""Builds a small Qwen3-VL (about 3 M parameters) in the ordinary on-disk format, for demos, tests and CPU training.

    python -m medvol_r1.demo_models.tiny_lvlm --output_dir runs/tiny_lvlm

It is the architecture of the real model with fewer and narrower layers: the same classes load it, the same code drives
it. Its tokenizer has one token for each whole number 0-1000, whose embeddings start as sinusoids of the number, so that
near numbers start with near embeddings; without that, boxes are learned about a third slower.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ..anchor import BOX_SCALE, EvidenceAnchor
from ..lvlm.prompts import INSTRUCTION
from ..queries.bank import all_texts
from ..queries.reasoning import rule_made_think

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# As in Qwen's own tokenizers, the marks of the reasoning are single tokens but not special ones.
PLAIN_ADDED_TOKENS = ("<think>", "</think>", "<answer>", "</answer>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Of the window -160..240 HU: all of it, fluid and soft tissue (-20..140), enhanced organs (80..240).
CHANNEL_RANGES = ((0.0, 1.0), (0.35, 0.75), (0.6, 1.0))

# Numbers alone; punctuation takes the blank in front of a number with it; words take the blank in front of them.
_SPLIT = r"\d+|[^\s\p{L}\d_]+ (?=\d)| ?[\p{L}_]+| ?[^\s\p{L}\d_]+|\s+"


def build_tokenizer(texts: Iterable[str], vocabulary_size: int = 8000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that knows the words of some texts and every whole number 0-1000 as one token.

    Args:
        texts: what to learn words from; anything else falls back to pieces, down to bytes.
        vocabulary_size: an upper bound; merging stops earlier when the texts are used up.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    numbers = [str(number) for number in range(BOX_SCALE + 1)]
    answer = '{"key_slice": 7, "bbox_2d_list": [[1, 2, 3, 4], [5, 6, 7, 8]]}{"key_slice": 7, "bbox_2d_list": []}'
    boxes = ((1, 2, 3, 4), (5, 6, 7, 8))
    thoughts = [rule_made_think("liver", EvidenceAnchor(6, boxes[:count])) for count in range(3)]
    corpus = [answer, INSTRUCTION, "\nuser\nassistant\nsystem\nQuery:<slice 7>", *thoughts] * 5
    corpus += [f" {text}" for text in texts] + [f" {text[:1].upper()}{text[1:]}" for text in texts]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS, *PLAIN_ADDED_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus + numbers * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_plain_marks(tokenizer),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in ("<|im_end|>", "<|endoftext|>")],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _with_plain_marks(tokenizer: Tokenizer) -> Tokenizer:
    """The marks of the reasoning stay single tokens and stop being special: decoding must never leave them out."""
    state = json.loads(tokenizer.to_str())
    for token in state["added_tokens"]:
        if token["content"] in PLAIN_ADDED_TOKENS:
            token["special"] = False
    return Tokenizer.from_str(json.dumps(state))


def tiny_config(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 192,
    num_layers: int = 4,
    num_heads: int = 6,
    vision_hidden_size: int = 128,
    vision_depth: int = 4,
    patch_size: int = 8,
    image_size: int = 96,
    channel_ranges: Sequence[Sequence[float]] | None = CHANNEL_RANGES,
) -> Qwen3VLConfig:
    """The configuration of the small model.

    Args:
        tokenizer: gives the vocabulary's size and the ids of the vision tokens.
        hidden_size: of the language model; `num_heads` heads, half as many key-value heads.
        num_layers: of the language model.
        vision_hidden_size: of the vision tower, 4 heads.
        vision_depth: blocks of the vision tower; the two before the last feed the language model too (deepstack).
        patch_size: pixels; 2x2 patches become one visual token.
        image_size: side of a slice in pixels that the learned position grid is made for.
        channel_ranges: see `vision.stretched_channels`; None: three equal channels.
    """
    head_size = hidden_size // num_heads
    third = head_size // 6
    ids = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden_size,
            "intermediate_size": hidden_size * 8 // 3 // 32 * 32,
            "num_hidden_layers": num_layers,
            "num_attention_heads": num_heads,
            "num_key_value_heads": num_heads // 2,
            "head_dim": head_size,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head_size // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden_size,
            "intermediate_size": 2 * vision_hidden_size,
            "num_heads": 4,
            "patch_size": patch_size,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden_size,
            "num_position_embeddings": (image_size // patch_size) ** 2,
            "deepstack_visual_indexes": list(range(vision_depth - 1))[-2:],
            "channel_ranges": channel_ranges,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )


@torch.no_grad()
def initialise_numbers(model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Gives the tokens 0..1000 embeddings that are sinusoids of the number (wavelengths from 8 to 2000)."""
    embedding = model.get_input_embeddings().weight
    numbers = torch.arange(BOX_SCALE + 1, dtype=torch.float32)[:, None]
    count = embedding.shape[1] // 4
    frequencies = torch.exp(torch.linspace(math.log(2 * math.pi / 2000), math.log(2 * math.pi / 8), count))
    waves = torch.cat([(numbers * frequencies).sin(), (numbers * frequencies).cos()], dim=1)
    rows = torch.tensor(tokenizer.convert_tokens_to_ids([str(number) for number in range(BOX_SCALE + 1)]))
    embedding[rows, : 2 * count] = 0.03 * waves


def build_tiny_lvlm(
    output_dir: str | Path,
    *,
    image_size: int = 96,
    patch_size: int = 8,
    seed: int = 0,
    channel_ranges: Sequence[Sequence[float]] | None = CHANNEL_RANGES,
) -> Path:
    """Writes an untrained small Qwen3-VL: config.json, model.safetensors, tokenizer files, chat template.

    Args:
        output_dir: made when absent.
        image_size: side of a slice in pixels, a multiple of twice the patch size.
        patch_size: pixels.
        seed: of the random initialisation.
        channel_ranges: see `tiny_config`; a model with them sees no colours.

    Returns:
        The folder.

    Raises:
        ValueError: the image size does not hold whole merged patches.
    """
    if image_size % (2 * patch_size):
        raise ValueError(f"image_size must be a multiple of 2 * patch_size = {2 * patch_size}, got {image_size}.")
    tokenizer = build_tokenizer(list(all_texts("train")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = tiny_config(tokenizer, image_size=image_size, patch_size=patch_size, channel_ranges=channel_ranges)
        model = Qwen3VLForConditionalGeneration(config)
        initialise_numbers(model, tokenizer)
    save_lvlm(model, tokenizer, output_dir)
    return Path(output_dir)


def save_lvlm(model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Writes model and tokenizer, whose end of text ends completions."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def ensure_tiny_lvlm(
    folder: str | Path,
    *,
    image_size: int,
    patch_size: int,
    seed: int = 0,
    channel_ranges: Sequence[Sequence[float]] | None = CHANNEL_RANGES,
) -> str:
    """The folder, with an untrained small model in it unless one is there already; a new one comes whole or not at all.

    Of several processes the first one makes it, and the others wait.

    Raises:
        OSError: the folder holds something else.
    """
    folder = Path(folder)
    with idist.one_rank_first():
        if not (folder / "config.json").is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}_being_written_") as beside:
                built = build_tiny_lvlm(
                    Path(beside) / "model",
                    image_size=image_size,
                    patch_size=patch_size,
                    seed=seed,
                    channel_ranges=channel_ranges,
                )
                built.replace(folder)
    return str(folder)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Write an untrained small Qwen3-VL in the ordinary on-disk format.")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--image_size", type=int, default=96, help="side of a slice in pixels")
    parser.add_argument("--patch_size", type=int, default=8, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = build_tiny_lvlm(
        arguments.output_dir, image_size=arguments.image_size, patch_size=arguments.patch_size, seed=arguments.seed
    )
    print(f"wrote {folder}")


if __name__ == "__main__":
    main()

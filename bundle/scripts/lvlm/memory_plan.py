"""What a training run would need, without its weights: the network on the meta device, counted.

Prints the parameter count, the trainable share and an estimate of the GPU memory, so that a run can be sized before
anything is downloaded. The estimate is arithmetic over tensor sizes, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText

from .architecture import KNOWN, MODEL_TYPES
from .model import LANGUAGE_MODEL_LINEAR

# `<slice 12>`, the vision marks and what else stands around the visual tokens of a slice.
_TAG_TOKENS = 8
# Instruction, chat marks; and for each query its text and its completion.
_INSTRUCTION_TOKENS = 120
_QUERY_TOKENS = 32
_GIB = 2**30


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes of a training run; bytes unless named otherwise.

    Args:
        parameters: of the whole network, the adapter included.
        trainable: of those that are trained.
        tokens: of one packed sequence: the prefix of a volume and its queries with their completions.
        weights: the network in its own type and the trainable weights in float32.
        optimizer: gradients and AdamW's two moments of the trainable weights, float32.
        activations: of one packed sequence.
    """

    parameters: int
    trainable: int
    tokens: int
    weights: int
    optimizer: int
    activations: int

    def __str__(self) -> str:
        total = self.weights + self.optimizer + self.activations
        rows = [
            ("parameters", f"{self.parameters / 1e6:,.1f} M"),
            ("trainable", f"{self.trainable / 1e6:,.1f} M ({self.trainable / self.parameters:.2%})"),
            ("tokens of a packed volume", f"{self.tokens:,}"),
            ("weights", f"{self.weights / _GIB:.2f} GiB"),
            ("gradients and AdamW", f"{self.optimizer / _GIB:.2f} GiB"),
            ("activations (estimate)", f"{self.activations / _GIB:.2f} GiB"),
            ("expected memory (estimate)", f"{total / _GIB:.2f} GiB"),
        ]
        return "\n".join(f"{name:28}{value:>24}" for name, value in rows)


def plan_training(
    config_folder: str | Path,
    *,
    lora_rank: int,
    dtype: str,
    num_slices: int,
    slice_size: int,
    queries_per_volume: int,
    max_new_tokens: int,
    gradient_checkpointing: bool,
    num_generations: int = 1,
) -> MemoryPlan:
    """Builds the network on the meta device and counts.

    Args:
        config_folder: holds the model's config.json; no weights are read.
        lora_rank: of the adapter on the language model; 0 trains every weight.
        dtype: of the frozen weights, `bfloat16` or `float32`.
        num_slices: S.
        slice_size: side of a slice in pixels.
        queries_per_volume: K.
        max_new_tokens: of a completion, taken at its longest.
        gradient_checkpointing: keep the inputs of the layers only, and recompute one layer at a time.
        num_generations: G, completions of a query that stand in one sequence: 1 in SFT, more in GRPO.

    Raises:
        ValueError: no configuration in the folder, or that of another architecture.
    """
    if not (Path(config_folder) / "config.json").is_file():
        raise ValueError(f"No config.json in {str(config_folder)!r} (config key `plan_config`).")
    config = AutoConfig.from_pretrained(config_folder)
    if config.model_type not in MODEL_TYPES:
        raise ValueError(f"{str(config_folder)!r} is a {config.model_type!r} configuration, need {KNOWN}.")
    with torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(config)
        if lora_rank:
            adapter = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=LANGUAGE_MODEL_LINEAR)
            network = get_peft_model(network, adapter)
    parameters = sum(weight.numel() for weight in network.parameters())
    trainable = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    side = slice_size // (config.vision_config.patch_size * config.vision_config.spatial_merge_size)
    prefix = _INSTRUCTION_TOKENS + num_slices * (side * side + _TAG_TOKENS)
    written = queries_per_volume * num_generations * max_new_tokens
    tokens = prefix + queries_per_volume * _QUERY_TOKENS + written
    itemsize = getattr(torch, dtype).itemsize
    return MemoryPlan(
        parameters=parameters,
        trainable=trainable,
        tokens=tokens,
        weights=(parameters - trainable) * itemsize + trainable * 4,
        optimizer=trainable * 3 * 4,
        activations=_activations(config.text_config, tokens, written, itemsize, gradient_checkpointing),
    )


def print_plan(plan: MemoryPlan, command: str) -> None:
    """Prints a plan and how to start the run itself."""
    print(f"{plan}\nNothing was trained: this is the plan. With the weights on this machine, train with\n  {command}")


def _activations(text: Any, tokens: int, predicted: int, itemsize: int, checkpointing: bool) -> int:
    """Bytes kept for the backward pass of the language model; the vision tower is frozen and keeps none."""
    hidden, layers = text.hidden_size, text.num_hidden_layers
    head_size = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    heads = (text.num_attention_heads + 2 * text.num_key_value_heads) * head_size
    layer = tokens * itemsize * (6 * hidden + 2 * heads + 4 * text.intermediate_size)
    kept = layers * tokens * hidden * itemsize + layer if checkpointing else layers * layer
    mask = tokens * tokens
    logits = 3 * predicted * text.vocab_size * 4  # logits, log-softmax and its gradient in float32
    return kept + mask + logits

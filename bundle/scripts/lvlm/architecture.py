"""Which vision-language models can be read, and where they differ for what is done with them here.

The class of a model comes from its config.json, through transformers. The shared prefix and the attention over whole
slices are this bundle's own: what they ask of a model is checked when it is loaded, and one that does not meet it is
run as transformers runs it.
"""

from __future__ import annotations

from typing import NamedTuple

from transformers import PreTrainedConfig, Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

QwenVL = Qwen3VLForConditionalGeneration | Qwen2_5_VLForConditionalGeneration
"""A network that can be read; Lingshu is a Qwen2.5-VL."""

MODEL_TYPES = ("qwen3_vl", "qwen2_5_vl")
"""`model_type` of their configurations."""
KNOWN = " or ".join(map(repr, MODEL_TYPES))
"""The same as a message says it."""

# Frequencies of these do not depend on how long a sequence is.
_FIXED_ROPE_TYPES = ("default", "linear", "yarn", "llama3")


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of each channel, red, green and blue, by which pixels in 0..1 are normalised."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


HALVES = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_PIXEL_STATISTICS = {
    "qwen3_vl_vision": HALVES,
    "qwen2_5_vl_vision": PixelStatistics(tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)),
}


def pixel_statistics(vision_config: PreTrainedConfig) -> PixelStatistics:
    """What the image processor of a model's family normalises by; it does not stand in config.json."""
    return _PIXEL_STATISTICS[vision_config.model_type]


def sees_whole_slices(vision_config: PreTrainedConfig) -> bool:
    """Whether a patch attends to all of its image in each block of the vision tower, not to a window of it."""
    return not hasattr(vision_config, "fullatt_block_indexes")


def why_no_shared_prefix(text_config: PreTrainedConfig) -> str | None:
    """What of a language model the shared prefix cannot do; None: nothing, so it may be used.

    Behind a shared prefix tokens attend to all that came before, with keys whose positions are rotated once.
    """
    kinds = set(getattr(text_config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        return f"layers with {', '.join(sorted(kinds))}"
    rope = text_config.rope_parameters["rope_type"]
    return None if rope in _FIXED_ROPE_TYPES else f"rotary positions of the type {rope}"

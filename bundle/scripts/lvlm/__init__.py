"""The vision-language model: prompts, decoding, log-probabilities."""

from .model import VolumeLVLM

__all__ = ["VolumeLVLM"]

"""Completions, token by token, behind the prefix of a volume or of several."""

from .completion import Completion
from .decoder import Decoder, KeptSequences, decode

__all__ = ["Completion", "Decoder", "KeptSequences", "decode"]

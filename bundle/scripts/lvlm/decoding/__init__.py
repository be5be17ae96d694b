"""Completions, token by token, behind the prefix of a volume or of several."""

from .completion import Completion
from .decoder import Decoder, KeptSequences, decode
from .one_by_one import decode_one_by_one

__all__ = ["Completion", "Decoder", "KeptSequences", "decode", "decode_one_by_one"]

"""How many sequences are decoded at a time, as memory allows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from ..architecture import QwenVL
from ..split_attention import LayerPrefix

_logger = logging.getLogger(__name__)

# Number of sequences that are decoded together; more are taken in turns.
_MAX_DECODED_TOGETHER = 128
# Share of the free memory of a GPU that sequences may take; and what they may take on a CPU.
_SHARE_OF_FREE_MEMORY = 0.5
_BYTES_ON_CPU = 4 * 2**30


def sequences_together(base: QwenVL, prefix: Sequence[LayerPrefix], length: int, wanted: int) -> int:
    """How many sequences of a length are decoded at a time; says so in the log when memory is what limits them."""
    size, limit = _memory(base, prefix, length)
    together = max(1, min(_MAX_DECODED_TOGETHER, int(limit // size)))
    if together < min(wanted, _MAX_DECODED_TOGETHER):
        _logger.warning(
            "%d completions of up to %d tokens take %.1f MiB each, too much for %.1f MiB at a time; they are written "
            "%d at a time.",
            *(wanted, length, size / 2**20, limit / 2**20, together),
        )
    return together


def volumes_together(base: QwenVL, prefix: Sequence[LayerPrefix], length: int, count: int) -> int:
    """How many volumes with such a prefix and `count` sequences of a length are decoded at a time, 1 at least."""
    size, limit = _memory(base, prefix, length)
    of_prefix = sum(one[0].nbytes for layer in prefix for one in layer)
    return max(1, min(_MAX_DECODED_TOGETHER // count, int(limit // (of_prefix + count * size))))


def _memory(base: QwenVL, prefix: Sequence[LayerPrefix], length: int) -> tuple[float, float]:
    """Bytes that a sequence takes, and that all of them may take."""
    own = sum(one[0, :, 0].nbytes for layer in prefix for one in layer) * length
    # Logits, noise, and what choosing a token makes of them, in float32.
    size = own + 6 * 4 * base.config.get_text_config().vocab_size
    if base.device.type != "cuda":
        return size, _BYTES_ON_CPU
    unused = torch.cuda.memory_reserved(base.device) - torch.cuda.memory_allocated(base.device)
    return size, _SHARE_OF_FREE_MEMORY * (torch.cuda.mem_get_info(base.device)[0] + unused)

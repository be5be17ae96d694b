"""The attentions of this bundle, given to the networks that can take them; the others run as transformers runs them."""

from __future__ import annotations

import logging

from .architecture import QwenVL, sees_whole_slices, why_no_shared_prefix
from .slice_attention import use_slice_attention
from .split_attention import use_split_attention

_logger = logging.getLogger(__name__)


def use_shortcuts(qwen: QwenVL, path: str) -> str | None:
    """Gives a network what it can take, and says in the log what it cannot.

    Args:
        qwen: the network, below an adapter.
        path: where it is from, for the log.

    Returns:
        Why the prefix of a volume cannot be shared; None: it can.
    """
    if sees_whole_slices(qwen.config.vision_config):
        use_slice_attention(qwen.model.visual)
    else:
        _logger.info("%s: its vision tower looks through windows; they are computed one by one", path)
    reason = why_no_shared_prefix(qwen.config.get_text_config())
    if reason is None:
        use_split_attention(qwen.model.language_model)
        return None
    _logger.warning(
        "%s has %s: the prompt of a volume is not shared, and completions come one by one, several times slower.",
        *(path, reason),
    )
    return reason

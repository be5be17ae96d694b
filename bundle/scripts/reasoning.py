"""The short rule-made reasoning that SFT shows between `<think>` and `</think>`.

The paper needs no annotated chain of thought; a completion without any would teach the model to leave it out. A sentence
that names what the query refers to, before any coordinate, also lets a reader see whether the query was understood.
"""

from __future__ import annotations

from .anchor import EvidenceAnchor


def rule_made_think(target: str, anchor: EvidenceAnchor) -> str:
    """One sentence from the target's name and its anchor.

    Args:
        target: plain name of what the query refers to ("right kidney").
        anchor: the answer that follows.
    """
    if anchor.is_absent:
        return f"The {target} is not in these slices."
    count = len(anchor.boxes_xyxy_1000)
    parts = "1 part" if count == 1 else f"{count} parts"
    return f"The {target}, best seen on slice {anchor.key_index + 1}, in {parts}."

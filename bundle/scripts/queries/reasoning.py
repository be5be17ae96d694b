"""The short rule-made reasoning that SFT shows between `<think>` and `</think>`.

The paper needs no annotated chain of thought; a completion without any would teach the model to leave it out. A
sentence that names what the query refers to, before any coordinate, also shows whether the query was understood.
"""

from __future__ import annotations

import numpy as np

from ..anchor import EvidenceAnchor
from .phrases import COUPLED_FRAMES

_PAIRS = {frozenset({"right kidney", "left kidney"}): "kidneys", frozenset({"right lung", "left lung"}): "lungs"}


def name_of_mask(mask: np.ndarray, label: np.ndarray, label_names: dict[int, str], asked_for: str) -> str:
    """Plain name of what a mask holds, whatever the query called it ("left kidney" for "the kidney with the cyst").

    Args:
        mask: bool, any shape.
        label: label map of the same shape.
        label_names: id to name.
        asked_for: a `Query.target`; names what an empty mask lacks.
    """
    names = frozenset(label_names[int(value)] for value in np.unique(label[mask]) if int(value) in label_names)
    if names:
        return _PAIRS.get(names, " and ".join(sorted(names)))
    return "kidney" if asked_for.startswith("kidney_") else asked_for.split(":")[-1]


def plain_name(target: str) -> str:
    """A datalist's target in plain words: "kidney" of "kidney_with:cyst"; any other target as it stands."""
    form, *arguments = target.split(":")
    if form not in COUPLED_FRAMES or not arguments:
        return target
    if form.startswith("kidney"):
        return "kidney"
    return arguments[-1] if form in ("lesion_in", "largest_in") else arguments[0]


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

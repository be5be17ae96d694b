"""A volume with K queries: the unit that training reads, and the collation of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..anchor import AnswerForm, format_completion
from ..queries.bank import Query
from ..queries.reasoning import name_of_mask, rule_made_think
from ..targets import sft_anchor

POINTS_PER_BOX: dict[AnswerForm, int] = {"boxes": 0, "boxes_and_points": 2}
"""How many points SFT teaches beside a box, by the form of the answer about slices."""


@dataclass(frozen=True)
class VolumeQueries:
    """One volume's shown slices and its queries with their answers.

    Args:
        case: name, for reports.
        slices: float32 [S, H, W] or [S, 3, H, W] in 0..1.
        texts: K queries.
        targets: K plain names of what they refer to.
        masks: bool [K, S, H, W], all False for an absent target.
        completions: K texts that state the training anchors.
    """

    case: str
    slices: torch.Tensor
    texts: tuple[str, ...]
    targets: tuple[str, ...]
    masks: torch.Tensor
    completions: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.texts), len(self.targets), len(self.masks), len(self.completions)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"{self.case}: need one target, mask and completion for each of at least one query.")


def with_sft_answers(
    case: str,
    slices: torch.Tensor,
    sampled: Sequence[tuple[Query, np.ndarray]],
    label: np.ndarray,
    label_names: dict[int, str],
    rng: np.random.Generator,
    *,
    top_k: int,
    think: bool = True,
    answer_form: AnswerForm = "boxes",
) -> VolumeQueries:
    """A volume whose queries were sampled from its label map, each with the answer that SFT teaches (paper, Sec. 2.4).

    Args:
        case: name, for reports.
        slices: float32 [S, H, W] or [S, 3, H, W] in 0..1.
        sampled: K queries with their masks, bool [S, H, W], as `queries.bank.sample_queries` draws them.
        label: label map [S, H, W].
        label_names: id to plain name.
        rng: of the key slices.
        top_k: slices among which a key slice is drawn.
        think: whether answers show the rule-made reasoning; False leaves an empty one.
        answer_form: of the answers, one of `POINTS_PER_BOX`.
    """
    anchors = [sft_anchor(mask, rng, top_k, POINTS_PER_BOX[answer_form]) for _, mask in sampled]
    names = [name_of_mask(mask, label, label_names, query.target) for query, mask in sampled]
    return VolumeQueries(
        case=case,
        slices=slices,
        texts=tuple(query.text for query, _ in sampled),
        targets=tuple(names),
        masks=torch.from_numpy(np.stack([mask for _, mask in sampled])),
        completions=tuple(
            format_completion(anchor, rule_made_think(name, anchor) if think else "", answer_form)
            for name, anchor in zip(names, anchors, strict=True)
        ),
    )


def check_sft_form(answer_form: str) -> None:
    """Whether answers about slices have this form.

    Raises:
        ValueError: they do not.
    """
    if answer_form not in POINTS_PER_BOX:
        raise ValueError(f"answer_form is {answer_form!r}; legal for volumes are {', '.join(POINTS_PER_BOX)}.")


def collate_volumes(items: Sequence[VolumeQueries]) -> list[VolumeQueries]:
    """A batch is a list: volumes differ in their number of slices and queries."""
    return list(items)

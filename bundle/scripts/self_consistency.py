"""Self-consistency, beyond the paper: several answers to one query, their masks compared, one answer given.

The first answer is the one that there is without sampling; the others are sampled. What parses votes: boxes and points
with the mask that they propagate to, "not present" with the empty mask. The agreement of an answer is the mean Dice of
its mask with the masks of the others (two empty masks: 1). What does not parse is counted and has no vote.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .lvlm.language_model import LanguageModel, WithText
from .lvlm.sampling import Sampling
from .metrics import dice
from .prompt_masks import PromptMask
from .volume.cropped_mask import CroppedMask, common_crops

CHOICES = ("agreement", "agreement_and_iou", "vote")
ABSTAINED = "abstained"
"""Status of an answer that too few of the other answers agree with: the mask is empty."""


@dataclass(frozen=True, eq=False)
class Decision:
    """The answer that is given.

    Args:
        evidence: of the chosen answer; of several also `agreement` (0..1) and `answers` (how many of each status).
        mask: bool [S, H, W].
        index: of the chosen answer, 0-based.
        agreement_map: float32 [S, H, W] in 0..1, the share of the voting answers that mark a voxel; None if it was not
            asked for, or nothing parses.
    """

    evidence: dict[str, Any]
    mask: np.ndarray
    index: int
    agreement_map: np.ndarray | None = None


class SelfConsistency:
    """Draws the answers to a query and decides between them.

    More than half of the votes for "not present" make the answer "not present"; otherwise one of the answers that mark
    something is chosen, the earlier one of equals. An agreement below `abstain_below` leaves the status `abstained` and
    an empty mask. A lone vote has nobody to agree with: its agreement is 0. If nothing parses, the answer is the first
    one with the most frequent reason, and its agreement is 0.

    Args:
        num_anchors: answers to each query; 1 takes the one that there is, and decides nothing.
        sampling: of all answers but the first; with a temperature above 0.
        choice: "agreement": the answer with the largest agreement. "agreement_and_iou": with the largest product of its
            agreement and the IoU that MedSAM2 predicts for its mask. "vote": evidence as with "agreement", and as mask
            the voxels that more than half of the answers which mark something do.
        abstain_below: agreement in 0..1; None: an answer is always given.
        keep_map: whether a decision has its `agreement_map`.

    Raises:
        ValueError: see the messages; each names the key of `inference.json`.
    """

    def __init__(
        self,
        num_anchors: int = 1,
        sampling: Sampling | None = None,
        choice: str = "agreement",
        abstain_below: float | None = None,
        keep_map: bool = False,
    ) -> None:
        if not isinstance(num_anchors, int) or isinstance(num_anchors, bool) or num_anchors < 1:
            raise ValueError(f"num_anchors is {num_anchors!r}; give a whole number of at least 1.")
        if num_anchors > 1 and (sampling is None or sampling.temperature <= 0):
            raise ValueError(
                f"num_anchors is {num_anchors} and anchor_temperature is {sampling and sampling.temperature}; give a "
                "temperature above 0, or all answers are the same."
            )
        if choice not in CHOICES:
            raise ValueError(f"anchor_choice is {choice!r}; legal are {', '.join(CHOICES)}.")
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise ValueError(f"abstain_below is {abstain_below!r}; give an agreement in 0..1, or null.")
        if num_anchors == 1 and (abstain_below is not None or keep_map):
            key, value = ("save_agreement", keep_map) if keep_map else ("abstain_below", abstain_below)
            raise ValueError(f"{key} is {value}, but one answer has none to agree with; give num_anchors 2 or more.")
        self.num_anchors, self.sampling, self.choice = num_anchors, sampling, choice
        self.abstain_below, self.keep_map = abstain_below, keep_map

    def completions(self, network: LanguageModel, volume: Any, queries: Sequence[str]) -> list[list[WithText]]:
        """For each of K queries its `num_anchors` completions, the first as the network gives it by itself.

        Args:
            network: writes the completions.
            volume: encoded by the network.
            queries: K texts.
        """
        first = network.generate(volume, queries)
        if self.num_anchors == 1:
            return [list(completions) for completions in first]
        more = network.generate(volume, queries, num_samples=self.num_anchors - 1, sampling=self.sampling)
        return [[one[0], *others] for one, others in zip(first, more, strict=True)]

    def decide(self, answers: Sequence[Mapping[str, Any]], masks: Sequence[PromptMask]) -> Decision:
        """One answer out of the `num_anchors` to a query.

        Args:
            answers: the evidence of each, see `inferer.evidence_of`; without a key index it does not parse.
            masks: what its boxes and points propagate to; all False without any.
        """
        if self.num_anchors == 1:
            return Decision(dict(answers[0]), masks[0].mask, 0)
        counted = Counter(answer["status"] for answer in answers)
        voters = [index for index, answer in enumerate(answers) if answer["key_index"] is not None]
        if not voters:
            reason = counted.most_common(1)[0][0]
            index = next(index for index, answer in enumerate(answers) if answer["status"] == reason)
            return Decision({**answers[index], "agreement": 0.0, "answers": dict(counted)}, masks[index].mask, index)
        agreement = dict(zip(voters, mean_dice_with_others([masks[index].mask for index in voters]), strict=True))
        marked = [index for index in voters if answers[index]["boxes_1000"] or answers[index].get("points_1000")]
        absent = [index for index in voters if index not in marked]
        if 2 * len(absent) > len(voters):
            index, mask = absent[0], masks[absent[0]].mask
        else:
            index = max(marked, key=lambda index: self._merit(agreement[index], masks[index]))
            mask = masks[index].mask
            if self.choice == "vote":
                mask = 2 * np.stack([masks[index].mask for index in marked]).sum(axis=0) > len(marked)
        evidence = {**answers[index], "agreement": agreement[index], "answers": dict(counted)}
        if self.abstain_below is not None and agreement[index] < self.abstain_below:
            evidence, mask = evidence | {"status": ABSTAINED}, np.zeros_like(mask)
        votes = np.stack([masks[index].mask for index in voters])
        return Decision(evidence, mask, index, votes.mean(axis=0, dtype=np.float32) if self.keep_map else None)

    def _merit(self, agreement: float, scored: PromptMask) -> float:
        return agreement * scored.predicted_iou if self.choice == "agreement_and_iou" else agreement


def mean_dice_with_others(masks: Sequence[np.ndarray]) -> list[float]:
    """For each of N masks bool [S, H, W] its mean Dice with the other N - 1; 0 for a single one.

    >>> a, b = np.array([[[1, 1, 0, 0]]], bool), np.array([[[0, 1, 1, 0]]], bool)
    >>> mean_dice_with_others([a, a, b])  # Dice of a and b: 2 * 1 / (2 + 2)
    [0.75, 0.75, 0.5]
    """
    numbers: dict[bytes, int] = {}  # equal masks are compared once
    of = [numbers.setdefault(np.packbits(mask).tobytes(), len(numbers)) for mask in masks]
    different = [CroppedMask.of(masks[of.index(number)]) for number in range(len(numbers))]
    table = np.ones((len(different), len(different)))
    for row, first in enumerate(different):
        for column in range(row):
            table[row, column] = table[column, row] = dice(*common_crops(first, different[column]))
    # fsum: equal masks get equal means, whatever the order of the sum.
    others = [[table[of[i], of[j]] for j in range(len(masks)) if j != i] for i in range(len(masks))]
    return [math.fsum(values) / max(len(values), 1) for values in others]


@contextmanager
def fixed_chance(seed: int, name: str, device: torch.device) -> Iterator[None]:
    """Inside, torch draws what the seed and the name fix; outside, it goes on as if nothing had been drawn.

    Args:
        seed: of the run.
        name: of what is drawn for, so that the order of the cases does not matter.
        device: the generators of the CPU and of this device are meant.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        yield

"""Loss of a clip: masks, object scores, predicted IoU, and the auxiliary coarse masks."""

from __future__ import annotations

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clip_network import ClipPrediction


class PropagatorLoss(nn.Module):
    """Sum over the predictions of a clip, each object weighing the same whatever its size.

    Binary cross-entropy is summed over pixels and divided by the object's area, so that a small object counts as much
    as a large one and the all-zero mask is a steep place; soft Dice is added (SAM 2 uses focal and Dice).

    Args:
        presence_weight: of the object score's cross-entropy.
        iou_weight: of the squared error of the predicted IoU.
    """

    def __init__(self, presence_weight: float = 0.5, iou_weight: float = 0.1) -> None:
        super().__init__()
        self.presence_weight, self.iou_weight = presence_weight, iou_weight

    def forward(self, prediction: ClipPrediction, truth: Tensor, coarse_weight: float = 0.0) -> dict[str, Tensor]:
        """Scalars: `loss`, and without gradient the Dice of the hard masks and the accuracy of the object score.

        Several processes that share a batch get parts, which add up to the scalars of the batch.

        Args:
            prediction: of N objects.
            truth: [N,T,m,m] true masks in 0..1, averaged to the logits' resolution. Objects that are not on slice 0
                count nothing.
            coarse_weight: of the auxiliary heads.
        """
        target = truth[:, prediction.slices]  # [N,U,m,m]
        area = target.sum((-2, -1))
        valid = (area[:, :1] > 0).expand_as(area)
        present = (area > 0.5) & valid
        floor = torch.maximum(area, 0.25 * area[:, :1]).clamp(min=4)
        dice, iou = _overlaps(prediction.logits.detach() > 0, target > 0.5)
        score = F.binary_cross_entropy_with_logits(prediction.presence, present.float(), reduction="none")
        # The object score is learnt on the walk: the extra prompt is only given where the object is.
        walk = slice(truth.shape[1])
        loss = (
            _mean(mask_loss(prediction.logits, target, floor), present)
            + self.presence_weight * _mean(score[:, walk], valid[:, walk])
            + self.iou_weight * _mean((prediction.iou - iou) ** 2, present)
        )
        if coarse_weight > 0:
            loss = loss + coarse_weight * _coarse_loss(prediction, target, present)
        tracked = slice(1, truth.shape[1])
        return {
            "loss": loss,
            "key_dice": _mean(dice[:, :1], present[:, :1]),
            "tracked_dice": _mean(dice[:, tracked], present[:, tracked]),
            "presence_accuracy": _mean(((prediction.presence > 0) == present)[:, walk], valid[:, walk]),
        }


def _coarse_loss(prediction: ClipPrediction, target: Tensor, present: Tensor) -> Tensor:
    total = target.new_zeros(())
    for column, logits in prediction.coarse:
        small = F.adaptive_avg_pool2d(target[:, column], logits.shape[-2:])
        total = total + _mean(mask_loss(logits, small, small.sum((-2, -1)).clamp(min=0.5)), present[:, column])
    return total / len(prediction.slices)


def _overlaps(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Dice and IoU [...] of masks [...,m,m]; 0 where both are empty."""
    both, either = (predicted & true).sum((-2, -1)), (predicted | true).sum((-2, -1))
    return 2 * both / (both + either).clamp(min=1), both / either.clamp(min=1)


def mask_loss(logits: Tensor, target: Tensor, area: Tensor) -> Tensor:
    """Cross-entropy over area plus soft Dice loss, [...]; logits and target [...,m,m], area [...]."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((-2, -1)) / area
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    dice = (2 * overlap + 0.5) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 0.5)
    return cross_entropy + 1 - dice


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values; 0 when none is. Of several processes, this one's part of the mean over all of them."""
    return (values * chosen).sum() / idist.all_reduce(chosen.sum()).clamp(min=1)

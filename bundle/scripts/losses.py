"""The objective of stage 2 (paper, Sec. 2.2): group-relative advantages (Eq. 2) and the clipped surrogate (Eq. 3).

Pure functions of tensors; equal to TRL's `loss_type="grpo"` with `use_bias_correction_kl=False` on the same numbers. G
is the number of completions of a query, N that of all completions at hand, T the number of tokens of the longest one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

STD_OFFSET = 1e-4
"""Added to the standard deviation, as TRL does; beside rewards that range over 0..4 it is nothing."""

Normalisation = Literal["sequence", "token"]


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """How much better than its group each completion is: `(r - mean) / (std + 1e-4)` (Eq. 2).

    The standard deviation is the unbiased one. A group of equal rewards has the advantages 0 exactly, never NaN and
    never the rounding of its mean, blown up.

    For G = 4: rewards 0, 1, 2, 3 have the mean 1.5 and the variance (2.25 + .25 + .25 + 2.25) / 3 = 5 / 3.

    >>> [round(a, 4) for a in group_advantages(torch.tensor([0.0, 1.0, 2.0, 3.0])).tolist()]
    [-1.1618, -0.3873, 0.3873, 1.1618]

    Args:
        rewards: [..., G], finite; the completions of one query along the last axis.
        scale: divide by the standard deviation; False leaves `r - mean`, so that hard and easy queries keep the size
            of their differences.

    Returns:
        [..., G], of the rewards' floating type (float32 for whole numbers).

    Raises:
        ValueError: G < 2, or a reward that is not finite.
    """
    rewards = torch.as_tensor(rewards)
    if not rewards.is_floating_point():
        rewards = rewards.float()
    if rewards.ndim == 0 or rewards.shape[-1] < 2:
        raise ValueError(
            f"rewards have the shape {tuple(rewards.shape)}; give [..., G] with G >= 2: a completion is compared with "
            "the others of its query, so sample at least 2 a query."
        )
    if not rewards.isfinite().all():
        raise ValueError(f"{int((~rewards.isfinite()).sum())} of {rewards.numel()} rewards are NaN or infinite.")
    centered = rewards - rewards.mean(-1, keepdim=True)
    equal = rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True)
    advantages = centered / (rewards.std(-1, keepdim=True) + STD_OFFSET) if scale else centered
    return advantages.masked_fill(equal, 0.0)


class GRPOStatistics(NamedTuple):
    """What a step of `GRPOLoss` looked like; scalars without gradient.

    Args:
        surrogate: the loss without the KL term.
        kl: mean over tokens of the k3 estimate of KL(policy || reference), in nats; NaN without a reference.
        clip_fraction: tokens whose gradient the clip removes.
        mean_ratio: mean over tokens of policy / old policy; 1 in the first iteration.
        tokens: how many tokens counted.
    """

    surrogate: Tensor
    kl: Tensor
    clip_fraction: Tensor
    mean_ratio: Tensor
    tokens: Tensor


class GRPOLoss(nn.Module):
    """Clipped policy gradient with a KL penalty to the reference policy (Eq. 3), token by token.

    With the ratio `rho = exp(log_prob - old_log_prob)` and `d = ref_log_prob - log_prob`, a token's loss is
    `-min(rho A, clip(rho, 1 - eps, 1 + eps) A) + beta (exp(d) - d - 1)`; the last bracket is the k3 estimate of the KL
    divergence, never negative. A completion's loss is the mean over its tokens, the loss the mean over completions.

    One completion of one token, A = 1, rho = 1.5 clipped to 1.2, d = log 2: -1.2 + 0.01 (2 - 0.6931 - 1) = -1.1969.

    >>> log_probs = torch.tensor([[-1.0]])
    >>> old, ref = log_probs - torch.tensor(1.5).log(), log_probs + torch.tensor(2.0).log()
    >>> loss, statistics = GRPOLoss()(log_probs, old, ref, torch.tensor([1.0]), torch.tensor([[True]]))
    >>> round(loss.item(), 4), statistics.clip_fraction.item()
    (-1.1969, 1.0)

    Args:
        clip_range: epsilon.
        kl_coefficient: beta; the paper's is 0.01.
        normalisation: "sequence" as above; "token" is the mean over all tokens at hand, so that a token of a long
            completion counts as much as one of a short (DAPO). To add up parts of a batch, weigh each by its share of
            the completions or of the tokens.

    Raises:
        ValueError: clip_range not between 0 and 1, negative kl_coefficient, another normalisation; in a call, shapes
            that do not fit or a missing reference.
    """

    def __init__(
        self, clip_range: float = 0.2, kl_coefficient: float = 0.01, normalisation: Normalisation = "sequence"
    ) -> None:
        super().__init__()
        if not 0 < clip_range < 1:
            raise ValueError(f"clip_range is {clip_range}; give a number between 0 and 1 (0.2 is usual).")
        if not 0 <= kl_coefficient < float("inf"):
            raise ValueError(f"kl_coefficient is {kl_coefficient}; give a finite number >= 0 (the paper's is 0.01).")
        if normalisation not in get_args(Normalisation):
            raise ValueError(f"normalisation is {normalisation!r}; legal are {', '.join(get_args(Normalisation))}.")
        self.clip_range, self.kl_coefficient, self.normalisation = clip_range, kl_coefficient, normalisation

    def forward(
        self,
        log_probs: Tensor,
        old_log_probs: Tensor,
        ref_log_probs: Tensor | None,
        advantages: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, GRPOStatistics]:
        """The loss, a scalar, and what to log.

        Args:
            log_probs: [N, T] of the sampled tokens under the policy; the only one that gets a gradient.
            old_log_probs: [N, T] under the policy that sampled them; `log_probs.detach()` in the first iteration.
            ref_log_probs: [N, T] under the frozen reference; may be None if kl_coefficient is 0.
            advantages: [N].
            mask: [N, T], nonzero where a token is; elsewhere the log-probabilities are not looked at.
        """
        self._check(log_probs, old_log_probs, ref_log_probs, advantages, mask)
        mask = mask.bool()  # [N, T]
        advantages = advantages.detach()[:, None].to(log_probs.dtype)  # [N, 1]
        # Filled before the exponentials: padding may hold -inf, and 0 * NaN is NaN.
        current = log_probs.masked_fill(~mask, 0.0)  # [N, T]
        ratio = (current - old_log_probs.detach().masked_fill(~mask, 0.0)).exp()  # [N, T]
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)  # [N, T]
        surrogate = -torch.minimum(ratio * advantages, clipped * advantages)  # [N, T]
        loss = policy_loss = self._mean(surrogate, mask)  # []
        kl = log_probs.new_tensor(float("nan"))  # []
        if ref_log_probs is not None:
            difference = ref_log_probs.detach().masked_fill(~mask, 0.0) - current  # [N, T]
            k3 = difference.exp() - difference - 1  # [N, T]
            kl = _token_mean(k3.detach(), mask)
            if self.kl_coefficient > 0:
                loss = loss + self.kl_coefficient * self._mean(k3, mask)
        outside = ((ratio > 1 + self.clip_range) & (advantages > 0)) | (
            (ratio < 1 - self.clip_range) & (advantages < 0)
        )  # [N, T]
        return loss, GRPOStatistics(
            surrogate=policy_loss.detach(),
            kl=kl,
            clip_fraction=_token_mean(outside.to(ratio.dtype), mask),
            mean_ratio=_token_mean(ratio.detach(), mask),
            tokens=mask.sum(),
        )

    def _mean(self, per_token: Tensor, mask: Tensor) -> Tensor:
        """[N, T] -> []. A completion without tokens counts as one of loss 0, as in TRL."""
        if self.normalisation == "token":
            return _token_mean(per_token, mask)
        return ((per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()

    def _check(
        self, log_probs: Tensor, old_log_probs: Tensor, ref_log_probs: Tensor | None, advantages: Tensor, mask: Tensor
    ) -> None:
        if log_probs.ndim != 2 or 0 in log_probs.shape:
            raise ValueError(f"log_probs have the shape {tuple(log_probs.shape)}; give [N, T], none of them 0.")
        others = {"old_log_probs": old_log_probs, "ref_log_probs": ref_log_probs, "mask": mask}
        for name, tensor in others.items():
            if tensor is not None and tensor.shape != log_probs.shape:
                raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, log_probs {tuple(log_probs.shape)}.")
        if advantages.shape != log_probs.shape[:1]:
            found = tuple(advantages.shape)
            raise ValueError(f"advantages have the shape {found}; give [{len(log_probs)}], one a completion.")
        if ref_log_probs is None and self.kl_coefficient > 0:
            raise ValueError(
                f"kl_coefficient is {self.kl_coefficient} but there are no ref_log_probs; give them, or set it to 0."
            )


def _token_mean(per_token: Tensor, mask: Tensor) -> Tensor:
    """[N, T] -> [], over the tokens at hand; 0 without any."""
    return (per_token * mask).sum() / mask.sum().clamp(min=1)

"""Stage 2, group relative policy optimisation (paper, Sec. 2.2 and 2.5): rollout, reward, advantage, update.

MONAI's supervised trainer with `_iteration` replaced. A batch is a list of volumes, each with K queries; G completions
of each query are sampled and rewarded (`rollouts`), and the policy is moved towards the better ones of each group
(`losses`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from ..datasets.volume_queries import VolumeQueries
from ..losses import GRPOLoss, GRPOStatistics
from ..lvlm.model import VolumeLVLM
from .distributed import add_up_gradients
from .non_finite import StopAtNonFinite
from .reference_policy import ReferencePolicy
from .rollouts import Rollouts, RolloutSampler, of_all_processes


class GRPOTrainer(SupervisedTrainer):
    """GRPO on batches of volumes.

    The rollouts of all volumes are made first, by one policy. Then the volumes go forward and backward one after
    another, so the batch size sets the gradient and not the memory. With `num_iterations` above 1 the same rollouts
    make several updates; the log-probabilities of the first one are the old policy's.

    A group of equal rewards says nothing about which completion is better: its surrogate has no gradient, and without
    a KL term it does not go through the network at all. It counts in the mean, as in Eq. 3. When no group differs and
    there is no KL term, the weights stay as they are.

    Args:
        device: of the network.
        max_epochs: epochs of `epoch_length` iterations.
        train_data_loader: yields lists of `VolumeQueries`.
        network: the policy, a `VolumeLVLM` with trainable weights.
        optimizer: over its trainable weights.
        loss_function: the clipped surrogate with KL.
        sampler: makes the rollouts.
        reference: what the KL term compares with; None only without KL.
        num_iterations: updates with the same rollouts.
        epoch_length: iterations of an epoch.
        bf16: the language model and the loss under bfloat16 autocast.
        max_grad_norm: gradients are clipped to this norm.
        train_handlers: as in MONAI.

    Raises:
        ValueError: num_iterations below 1, or a KL term without a reference; in a run, a reward that is not finite.
        FloatingPointError: in a run, a gradient that is not finite; the weights are left as they were before it.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: VolumeLVLM,
        optimizer: torch.optim.Optimizer,
        loss_function: GRPOLoss,
        sampler: RolloutSampler,
        reference: ReferencePolicy | None = None,
        num_iterations: int = 1,
        epoch_length: int | None = None,
        bf16: bool = True,
        max_grad_norm: float = 1.0,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if num_iterations < 1:
            raise ValueError(f"num_iterations is {num_iterations}; give 1 or more updates with the same rollouts.")
        if loss_function.kl_coefficient > 0 and reference is None:
            raise ValueError(f"kl_coefficient is {loss_function.kl_coefficient}; give a `reference` policy, or 0.")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            epoch_length=epoch_length,
            train_handlers=train_handlers,
            decollate=False,
        )
        self.sampler, self.reference, self.num_iterations = sampler, reference, num_iterations
        self.bf16, self.max_grad_norm = bf16, max_grad_norm
        StopAtNonFinite().attach(self)

    def _iteration(self, engine: Engine, batchdata: Sequence[VolumeQueries]) -> list[dict[str, Any]]:
        """Rollouts of a batch, then the updates; for what the output says, see `grpo_logging.step_scalars`. It is alone
        in a list, which MONAI's handlers expect."""
        self.network.eval()
        places = range(idist.get_rank(), idist.get_world_size() * len(batchdata), idist.get_world_size())
        rollouts = self.sampler.of_batch(self.network, batchdata, [(engine.state.iteration, place) for place in places])
        started = time.perf_counter()
        micro_batches = self._micro_batches(rollouts)
        for _ in range(self.num_iterations):
            update = self._update(micro_batches)
            self.optimizer.step()
        output = {
            CommonKeys.LOSS: update.loss,
            "update": update,
            "update_seconds": time.perf_counter() - started,
            "rollouts": rollouts,
            "told": of_all_processes(rollouts),
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return [output]

    def _micro_batches(self, rollouts: Sequence[Rollouts]) -> list[_MicroBatch]:
        """What of the rollouts goes through the network, with what it adds to the loss of the batch."""
        in_sequences = self.loss_function.normalisation == "sequence"
        sizes = [[1 if in_sequences else len(one.ids) for one in volume.flat] for volume in rollouts]
        total = idist.all_reduce(sum(map(sum, sizes)))
        micro_batches = []
        for volume, weights in zip(rollouts, sizes, strict=True):
            keep = torch.ones_like(volume.equal) if self.reference else ~volume.equal
            if not keep.any():
                continue
            groups = keep.nonzero()[:, 0].tolist()
            micro_batch = _MicroBatch(
                rollouts=volume,
                texts=[volume.item.texts[group] for group in groups],
                ids=[[one.ids for one in volume.completions[group]] for group in groups],
                advantages=volume.advantages[keep].flatten().to(self.state.device),
                share=torch.tensor(weights).reshape(keep.numel(), -1)[keep].sum().item() / total,
            )
            if self.reference is not None:
                seen = self.reference.encode(volume.item.slices, volume.volume)
                with self._autocast():
                    micro_batch.reference = _padded(self.reference.log_probs(seen, micro_batch.texts, micro_batch.ids))
            micro_batches.append(micro_batch)
        return micro_batches

    def _update(self, micro_batches: Sequence[_MicroBatch]) -> Update:
        """Gradients of one pass over the batch, clipped; volume after volume."""
        self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        losses, statistics = [], []
        for part in micro_batches:
            log_probs = self._log_probs(part)  # [N, T]
            if part.old is None:
                part.old = log_probs.detach()
            mask = _padded([[torch.ones_like(one) for one in group] for group in part.ids]).to(log_probs.device)
            loss, seen = self.loss_function(log_probs, part.old, part.reference, part.advantages, mask)
            (loss * part.share).backward()
            losses.append(loss.item() * part.share)
            statistics.append(seen)
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        add_up_gradients(trained)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        norm = clip_grad_norm_(trained, self.max_grad_norm)
        return Update.of(losses, statistics, norm.item())

    def _log_probs(self, micro_batch: _MicroBatch) -> Tensor:
        """[N, T] of a micro-batch's completions under the policy, with gradient."""
        volume = micro_batch.rollouts.volume
        if any(weight.requires_grad for weight in self.network.base.model.visual.parameters()):
            volume = self.network.encode(micro_batch.rollouts.item.slices)
        with self._autocast():
            return _padded(self.network.log_probs(volume, micro_batch.texts, micro_batch.ids))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=torch.bfloat16, enabled=self.bf16)


class Update(NamedTuple):
    """What the last update with some rollouts looked like; means over the tokens that went through the network.

    Args:
        loss: with the KL term.
        kl: to the reference, in nats a token; NaN without a reference.
        clip_fraction: tokens whose gradient the clip removes; 0 in the first update with some rollouts.
        mean_ratio: policy / old policy; 1 in the first update with some rollouts.
        grad_norm: before clipping.
    """

    loss: float
    kl: float
    clip_fraction: float
    mean_ratio: float
    grad_norm: float

    @classmethod
    def of(cls, losses: Sequence[float], statistics: Sequence[GRPOStatistics], grad_norm: float) -> Update:
        """Those of several volumes together, of all processes; NaN where nothing went through the network."""
        tokens = idist.all_reduce(sum(seen.tokens.item() for seen in statistics))

        def mean(name: str) -> float:
            total = sum(getattr(seen, name).item() * seen.tokens.item() for seen in statistics)
            return idist.all_reduce(float(total)) / tokens if tokens else float("nan")

        loss = idist.all_reduce(float(sum(losses)))
        return cls(loss, mean("kl"), mean("clip_fraction"), mean("mean_ratio"), grad_norm)


@dataclass
class _MicroBatch:
    """What of a volume's rollouts goes through the network: N completions, group after group.

    Args:
        rollouts: of the volume.
        texts: queries of the groups.
        ids: for each group its completions.
        advantages: [N].
        share: weight of its mean loss in the batch: its part of all completions, or of all tokens.
        reference: [N, T] log-probabilities under the reference, None without one.
        old: [N, T] under the policy that sampled, None before the first pass.
    """

    rollouts: Rollouts
    texts: list[str]
    ids: list[list[Tensor]]
    advantages: Tensor
    share: float
    reference: Tensor | None = None
    old: Tensor | None = None


def _padded(by_group: Sequence[Sequence[Tensor]]) -> Tensor:
    """[N, T] of the completions' [n], zero behind their ends."""
    return pad_sequence(list(chain.from_iterable(by_group)), batch_first=True)

"""Stage 1, supervised fine-tuning (paper, Sec. 2.4): the engine that trains the language model to write anchors.

MONAI's supervised trainer with `_iteration` replaced: a batch is a list of volumes, each with K queries, and the K
completions of a volume are packed behind one shared prefix (see `shared_prefix`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ..datasets.volume_queries import VolumeQueries
from ..lvlm.volume_batch import pack_queries
from .distributed import add_up_gradients
from .non_finite import StopAtNonFinite


class SFTTrainer(SupervisedTrainer):
    """Cross-entropy on the completions of a batch of volumes; prompts are not trained on.

    The loss is the mean over all completion tokens of the batch, over all processes that share it.
    `volumes_per_forward` volumes at a time go forward and backward, so the batch size sets the gradient and not the
    memory; `accumulation_steps` batches make one update.

    Args:
        device: of the network.
        max_epochs: epochs of `epoch_length` iterations.
        train_data_loader: yields lists of `VolumeQueries`.
        network: a `VolumeLVLM` with trainable weights.
        optimizer: over its trainable weights.
        epoch_length: iterations of an epoch; default: one pass over the data.
        bf16: the language model and the loss under bfloat16 autocast (which needs no gradient scaling).
        max_grad_norm: gradients are clipped to this norm.
        accumulation_steps: batches of one optimizer step.
        volumes_per_forward: of the same number of slices and size; more are faster where a volume is too small to keep
            the device busy (small models on a GPU).
        train_handlers: as in MONAI.

    Raises:
        FloatingPointError: in a run, a gradient that is not finite; the weights are left as they were before it.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        epoch_length: int | None = None,
        bf16: bool = True,
        max_grad_norm: float = 1.0,
        accumulation_steps: int = 1,
        volumes_per_forward: int = 1,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=nn.NLLLoss(),  # the base class wants one; ours comes from packed log-probabilities
            epoch_length=epoch_length,
            train_handlers=train_handlers,
            decollate=False,
            accumulation_steps=accumulation_steps,
        )
        self.bf16 = bf16
        self.max_grad_norm = max_grad_norm
        self.volumes_per_forward = volumes_per_forward
        StopAtNonFinite().attach(self)

    def _iteration(self, engine: Engine, batchdata: Sequence[VolumeQueries]) -> list[dict[str, Any]]:
        """One batch: forward and backward of each volume, then the update when it is due. The output is alone in a
        list, which MONAI's handlers expect."""
        position = (engine.state.iteration - 1) % engine.state.epoch_length
        if position % self.accumulation_steps == 0:
            self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        prompts = self.network.prompts
        targets = [[prompts.completion_ids(text) for text in item.completions] for item in batchdata]
        num_tokens = idist.all_reduce(sum(len(ids) for item in targets for ids in item))  # of all processes
        loss = torch.zeros((), device=self.state.device)
        for start in range(0, len(batchdata), self.volumes_per_forward):
            part = slice(start, start + self.volumes_per_forward)
            share = self._loss_sum(batchdata[part], targets[part]) / num_tokens
            (share / self.accumulation_steps).backward()
            loss += share.detach()
        output = {CommonKeys.LOSS: idist.all_reduce(loss.item()), "tokens": num_tokens}
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        is_due = (position + 1) % self.accumulation_steps == 0 or position + 1 == engine.state.epoch_length
        if is_due:
            add_up_gradients(trained)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if is_due:
            output["grad_norm"] = clip_grad_norm_(trained, self.max_grad_norm).item()
            self.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return [output]

    def _loss_sum(self, items: Sequence[VolumeQueries], targets: Sequence[Sequence[list[int]]]) -> torch.Tensor:
        """Summed negative log-probability of the completions' tokens of some volumes."""
        autocast = torch.autocast(self.state.device.type, dtype=torch.bfloat16, enabled=self.bf16)
        # On a CPU, bfloat16 attention over the few patches of a slice takes several times as long as float32.
        with autocast if self.state.device.type == "cuda" else nullcontext():
            volumes = self.network.encode_many([item.slices.to(self.state.device) for item in items])
        texts = [item.texts for item in items]
        with autocast:
            if len(items) > 1:
                tails = [[self.network.prompts.tail_ids(text) for text in of_volume] for of_volume in texts]
                pairs = zip(tails, targets, strict=True)
                packed = pack_queries([[(tail, [ids]) for tail, ids in zip(*one, strict=True)] for one in pairs])
                return -self.network.batch_log_probs(volumes, packed).sum()
            by_query = self.network.log_probs(volumes[0], texts[0], [[torch.tensor(ids)] for ids in targets[0]])
        return -sum(log_probs[0].sum() for log_probs in by_query)

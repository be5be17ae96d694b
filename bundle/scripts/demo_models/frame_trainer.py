"""Trains the demo language model on frames: completions and, beside them, labels for its vision tower."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch.nn.utils import clip_grad_norm_

from .endless_frames import LABEL_NAMES, FrameBatch
from .vision_pretraining import UNKNOWN, PartialLabelLoss, SliceSegmenter


class FrameTrainer(SupervisedTrainer):
    """Cross-entropy of the completions (stage 1, paper Sec. 2.4) plus what each visual token shows.

    A few numbers a volume do not teach a small tower to see, labels on every pixel do. All volumes of a batch go
    forward and backward at once.

    Args:
        device: of the network.
        max_epochs: of `epoch_length` iterations, unless a handler ends the run before.
        epoch_length: iterations of one epoch.
        train_data_loader: yields `FrameBatch`.
        network: around the `VolumeLVLM` that is trained; its head is thrown away afterwards.
        optimizer: over the weights of both.
        label_weight: of the loss on the labels.
        noise: highest standard deviation of the noise on a volume's grey values; each volume has its own.
        bf16: the networks under bfloat16 autocast.
        max_grad_norm: gradients are clipped to this norm.
        train_handlers: as in MONAI.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: Iterable[FrameBatch],
        network: SliceSegmenter,
        optimizer: torch.optim.Optimizer,
        label_weight: float = 0.5,
        noise: float = 0.06,
        bf16: bool = True,
        max_grad_norm: float = 1.0,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=PartialLabelLoss(),
            epoch_length=epoch_length,
            train_handlers=train_handlers,
            decollate=False,
        )
        self.label_weight = label_weight
        self.noise = noise
        self.bf16 = bf16
        self.max_grad_norm = max_grad_norm

    def _iteration(self, engine: Engine, batchdata: FrameBatch) -> list[dict[str, Any]]:
        """One update; the losses stay on the device, for to ask for a number means to wait for it."""
        device = self.state.device
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        lvlm = self.network.network
        slices, label, labeled = (one.to(device, non_blocking=True) for one in batchdata[:3])
        grey = slices.float() / 255
        grey += torch.randn_like(grey) * self.noise * torch.rand(len(grey), 1, 1, 1, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            volumes = lvlm.encode_many(list(grey.clamp_(0.0, 1.0)))
            completion_loss = -lvlm.batch_log_probs(volumes, batchdata.packed).mean()
            cells = self.network.named_cells(torch.cat([one.visual_embeds for one in volumes]), slices.shape)
        label_loss = self.loss_function(cells.float(), label_shares(label, labeled, self.network.cell_size))
        (completion_loss + self.label_weight * label_loss).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        norm = clip_grad_norm_(self.network.parameters(), self.max_grad_norm)
        self.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output = {
            CommonKeys.LOSS: completion_loss.detach(),
            "label_loss": label_loss.detach(),
            "grad_norm": norm.detach(),
        }
        return [output]


def label_shares(label: torch.Tensor, labeled: torch.Tensor, cell_size: int) -> torch.Tensor:
    """What `PartialLabelLoss` compares with.

    Args:
        label: uint8 [B, S, H, W], ids of `LABEL_NAMES`.
        labeled: bool [B, L], which of them were drawn.
        cell_size: side of a cell in pixels.

    Returns:
        float32 [B, L, S, H / cell, W / cell], the share of each cell, or `UNKNOWN`.
    """
    shares = [F.avg_pool2d((label == value).float(), cell_size) for value in LABEL_NAMES]
    return torch.stack(shares, dim=1).masked_fill(~labeled[:, :, None, None, None], UNKNOWN)

"""Stage 1, supervised fine-tuning (paper, Sec. 2.4): engines that train and validate the language model's anchors.

Both are MONAI's supervised engines with `_iteration` replaced: a batch is a list of volumes, each with K queries, and
the K completions of a volume are packed behind one shared prefix (see `shared_prefix`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import Sampler

from ..datasets.volume_queries import VolumeQueries
from ..lvlm.model import VolumeLVLM
from ..lvlm.volume_batch import pack_queries
from ..rewards import AxialReward, FormatReward, SpatialReward


class SFTTrainer(SupervisedTrainer):
    """Cross-entropy on the completions of a batch of volumes; prompts are not trained on.

    The loss is the mean over all completion tokens of the batch. `volumes_per_forward` volumes at a time go forward and
    backward, so the batch size sets the gradient and not the memory; `accumulation_steps` batches make one update.

    Args:
        device: of the network.
        max_epochs: epochs of `epoch_length` iterations.
        train_data_loader: yields lists of `VolumeQueries`.
        network: a `VolumeLVLM` with trainable weights.
        optimizer: over its trainable weights.
        epoch_length: iterations between validations.
        bf16: the language model and the loss under bfloat16 autocast (which needs no gradient scaling).
        max_grad_norm: gradients are clipped to this norm.
        accumulation_steps: batches of one optimizer step.
        volumes_per_forward: of the same number of slices and size; more are faster where a volume is too small to keep
            the device busy (small models on a GPU).
        train_handlers: as in MONAI.
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

    def _iteration(self, engine: Engine, batchdata: Sequence[VolumeQueries]) -> dict[str, Any]:
        """One batch: forward and backward of each volume, then the update when it is due."""
        position = (engine.state.iteration - 1) % engine.state.epoch_length
        if position % self.accumulation_steps == 0:
            self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        prompts = self.network.prompts
        targets = [[prompts.completion_ids(text) for text in item.completions] for item in batchdata]
        num_tokens = sum(len(ids) for item in targets for ids in item)
        loss = torch.zeros((), device=self.state.device)
        for start in range(0, len(batchdata), self.volumes_per_forward):
            part = slice(start, start + self.volumes_per_forward)
            share = self._loss_sum(batchdata[part], targets[part]) / num_tokens
            (share / self.accumulation_steps).backward()
            loss += share.detach()
        engine.state.output = {CommonKeys.LOSS: loss.item(), "tokens": num_tokens}
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if (position + 1) % self.accumulation_steps == 0 or position + 1 == engine.state.epoch_length:
            trained = [weight for weight in self.network.parameters() if weight.requires_grad]
            engine.state.output["grad_norm"] = clip_grad_norm_(trained, self.max_grad_norm).item()
            self.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

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


class AnchorEvaluator(SupervisedEvaluator):
    """Greedy completions of held-out queries, scored as anchors.

    Metrics: `format_rate` (completions that parse), `R_a` (visibility of the target on the predicted key slice, paper
    Sec. 2.5), `box_iou` (R_s's matched IoU with the true boxes of the predicted slice), both 0 for a completion that
    does not parse and over present targets only; `absent_accuracy` over absent ones.

    Args:
        device: of the network.
        val_data_loader: yields lists of `VolumeQueries`.
        network: a `VolumeLVLM`.
        val_handlers: as in MONAI.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Any,
        network: nn.Module,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            key_val_metric={"box_iou": _average_of("box_iou")},
            additional_metrics={name: _average_of(name) for name in ("format_rate", "R_a", "absent_accuracy")},
            val_handlers=val_handlers,
            decollate=False,
        )

    def _iteration(self, engine: Engine, batchdata: Sequence[VolumeQueries]) -> dict[str, Any]:
        """Completions and scores of one batch."""
        self.network.eval()
        scores: dict[str, list[float]] = {"format_rate": [], "R_a": [], "box_iou": [], "absent_accuracy": []}
        for item in batchdata:
            completions = self.network.generate(item.slices.to(self.state.device), item.texts)
            for (completion,), mask in zip(completions, item.masks, strict=True):
                for name, value in score_anchor(completion.text, mask.numpy()).items():
                    scores[name].append(value)
        engine.state.output = scores
        return scores


def score_anchor(text: str, mask: Any) -> dict[str, float]:
    """Scores of one completion, each in 0..1.

    Args:
        text: the completion.
        mask: bool array [S, H, W] of the target on the shown slices.

    Returns:
        `format_rate` and, for a present target, `R_a` and `box_iou`, else `absent_accuracy`.
    """
    answer = {"completions": [text], "masks": [mask]}
    scores = {"format_rate": FormatReward()(**answer)[0]}
    if not mask.any():
        return scores | {"absent_accuracy": AxialReward()(**answer)[0]}
    return scores | {"R_a": AxialReward()(**answer)[0], "box_iou": SpatialReward()(**answer)[0]}


def make_trainable(network: VolumeLVLM, lora_rank: int, gradient_checkpointing: bool) -> VolumeLVLM:
    """The network with a LoRA adapter on frozen weights, or all of it trainable.

    Args:
        network: loads its weights now.
        lora_rank: of the adapter, with alpha twice the rank; 0 trains every weight.
        gradient_checkpointing: recompute activations in the backward pass, for less memory.
    """
    network = network.add_lora(rank=lora_rank, alpha=2 * lora_rank) if lora_rank else network.unfreeze()
    if gradient_checkpointing:
        network.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return network


class TrainableWeights:
    """The weights that are trained, as something that a checkpoint can hold; a frozen 4B base is not saved each time.

    Args:
        network: any module.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Name to tensor of the weights that require a gradient."""
        return {name: weight.detach() for name, weight in self.network.named_parameters() if weight.requires_grad}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors back.

        Raises:
            ValueError: the checkpoint was made with other trainable weights.
        """
        own = self.state_dict()
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())
            raise ValueError(f"The checkpoint trains other weights than this run: {odd[0]} and {len(odd) - 1} more.")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(state[name])


class ResumableSampler(Sampler[int]):
    """The indices of a data set in a fixed random order of each pass, from any item on.

    Args:
        num_items: length of the data set.
        seed: of the order.
    """

    def __init__(self, num_items: int, seed: int = 0) -> None:
        if num_items < 1:
            raise ValueError(f"Nothing to train on: the data set has {num_items} items.")
        self.num_items = num_items
        self.seed = seed
        self.first = 0

    def __iter__(self):
        passes, position = divmod(self.first, self.num_items)
        generator = torch.Generator().manual_seed(self.seed + passes)
        order = torch.randperm(self.num_items, generator=generator).tolist()
        self.first += self.num_items - position
        return iter(order[position:])

    def __len__(self) -> int:
        return self.num_items - self.first % self.num_items

    def attach(self, engine: Engine, batch_size: int) -> None:
        """Lets a resumed engine start behind the batches that it has already seen."""

        def skip_seen() -> None:
            self.first = engine.state.iteration * batch_size

        engine.add_event_handler(Events.STARTED, skip_seen)


def latest_checkpoint(folder: str | Path) -> str | None:
    """The newest `*.pt` of a folder, to resume from; None when there is none."""
    found = sorted(Path(folder).glob("*.pt"), key=lambda file: file.stat().st_mtime)
    return str(found[-1]) if found else None


def _average_of(name: str) -> Average:
    def column(output: dict[str, list[float]]) -> torch.Tensor:
        return torch.tensor(output[name], dtype=torch.float64)[:, None]

    return _AverageOfMany(output_transform=column)


class _AverageOfMany(Average):
    """Ignite's mean over the rows [n, 1] of each output; an output may have none, and no row at all gives NaN."""

    def update(self, output: torch.Tensor) -> None:
        if len(output):
            super().update(output)

    def compute(self) -> float:
        return float(super().compute()) if self.num_examples else float("nan")

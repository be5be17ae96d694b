"""Train a Sam2Video on clips: an Ignite engine, its optimiser groups, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Sam2VideoModel

from ..training.distributed import add_up_gradients
from ..training.non_finite import StopAtNonFinite
from .clip_network import ClipNetwork, encode_pixels
from .clips import ClipLoader
from .loss import PropagatorLoss

_IMAGE_PARTS = ("vision_encoder", "mask_decoder.conv_s0", "mask_decoder.conv_s1")
_PROMPT_PARTS = ("mask_decoder", "prompt_encoder", "no_memory_embedding", "shared_image_embedding")


class PropagatorTrainer(SupervisedTrainer):
    """MONAI's trainer with the two schedules of the recipe.

    Args:
        max_epochs, device, train_handlers: as for `SupervisedTrainer`.
        train_data_loader: batches of clips; its epoch and position follow the trainer's.
        network: unrolls the model over a clip.
        optimizer: see `parameter_groups`.
        loss_function: of a clip.
        truth_until: share of the run in which true masks in the memory give way to predicted ones, linearly from always
            to never. 0: never true.
        coarse_until: share of the run in which the weight of the auxiliary heads falls from 1 to 0. 0: never used.
        clip_norm: largest norm of the gradient.

    Raises:
        FloatingPointError: in a run, a gradient that is not finite; the weights are left as they were before it.
    """

    def __init__(
        self,
        *,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: ClipLoader,
        network: ClipNetwork,
        optimizer: Optimizer,
        loss_function: PropagatorLoss,
        train_handlers: Sequence | None = None,
        truth_until: float = 0.6,
        coarse_until: float = 0.5,
        clip_norm: float = 1.0,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            epoch_length=len(train_data_loader),
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            train_handlers=train_handlers,
            decollate=False,
        )
        self.truth_until, self.coarse_until, self.clip_norm = truth_until, coarse_until, clip_norm
        self.add_event_handler(Events.EPOCH_STARTED, self._set_loader)
        StopAtNonFinite().attach(self)

    def _set_loader(self) -> None:
        self.data_loader.epoch = self.state.epoch
        self.data_loader.first = self.state.iteration % self.state.epoch_length

    def _iteration(self, engine: PropagatorTrainer, batchdata: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """One step; returns the loss function's scalars, in a list as MONAI's handlers expect them."""
        batch = {name: value.to(engine.state.device) for name, value in batchdata.items()}
        progress = (engine.state.iteration - 1) / (engine.state.max_epochs * engine.state.epoch_length)
        network = engine.network.train()
        side = 4 * network.model.prompt_encoder.image_embedding_size[0]
        truth = F.adaptive_avg_pool2d(batch["masks"].flatten(0, 1).float(), side)
        engine.optimizer.zero_grad()
        prediction = network(batch["image"], batch["boxes"], truth, _falling(progress, engine.truth_until))
        scalars = engine.loss_function(prediction, truth, _falling(progress, engine.coarse_until))
        scalars["loss"].backward()
        add_up_gradients(network.parameters())
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        nn.utils.clip_grad_norm_(network.parameters(), engine.clip_norm)
        engine.optimizer.step()
        return [{name: idist.all_reduce(value.detach()) for name, value in scalars.items()}]


class MovingAverage(EMAHandler):
    """Ignite's moving average of a model, as something that a checkpoint can hold once it is attached to a trainer."""

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, and how many steps they have seen: by these the momentum warms up."""
        return {"model": self.ema_model.state_dict(), "steps": self.momentum_scheduler.event_index}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts both back."""
        self.ema_model.load_state_dict(state["model"])
        self.momentum_scheduler.event_index = state["steps"]


class PretrainedSaver:
    """Handler: write the model with `save_pretrained` after every `interval` epochs, for `load_medsam2`.

    Args:
        model: what to write, e.g. the moving average.
        folder: receives config.json and model.safetensors.
        interval: epochs.
    """

    def __init__(self, model: Sam2VideoModel, folder: str | Path, interval: int = 1) -> None:
        self.model, self.folder, self.interval = model, Path(folder), interval

    def attach(self, engine: Engine) -> None:
        """Called by the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Engine) -> None:
        self.model.save_pretrained(self.folder)


def parameter_groups(
    network: ClipNetwork, *, encoder_lr: float, decoder_lr: float, memory_lr: float, weight_decay: float
) -> list[dict]:
    """Groups for AdamW: image encoder, prompt encoder and mask decoder, memory and auxiliary heads.

    Vectors, embeddings and position tables are not decayed. A rate of 0 freezes its part.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        name = name.removeprefix("model.")
        rate = memory_lr
        if name.startswith(_IMAGE_PARTS):
            rate = encoder_lr
        elif name.startswith(_PROMPT_PARTS):
            rate = decoder_lr
        # The path of mask prompts is not used: boxes are the only prompts.
        if rate == 0 or "mask_embed" in name or name.startswith("mask_downsample."):
            parameter.requires_grad_(False)
            continue
        is_table = any(word in name for word in ("embed.", "pos_embed", "embedding", "encoding", "_token"))
        decay = 0.0 if parameter.ndim < 2 or (is_table and "patch_embed" not in name) else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


@torch.no_grad()
def match_memory_scale(model: Sam2VideoModel, loader: ClipLoader) -> Sam2VideoModel:
    """Let the memory attention start as nearly the identity on the tokens that the trained decoder knows.

    Its last norm gets the mean standard deviation of the image tokens over a batch. Call it once, between the training
    on single slices and the training on clips. Returns the model.
    """
    tokens = encode_pixels(model, loader.batch(1, 0)["image"].flatten(0, 1)[:8].to(model.device)).tokens
    model.memory_attention.layer_norm.weight.fill_(float(tokens.std(1).mean()))
    return model


def _falling(progress: float, until: float) -> float:
    """1 at progress 0, 0 from `until` on."""
    return max(0.0, 1 - progress / until) if until > 0 else 0.0

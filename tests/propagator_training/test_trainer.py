"""The training engine of the propagator: it learns, it resumes, it freezes what it is told to."""

import copy
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.propagation import SlicePropagator
from medvol_r1.propagator_training.clip_network import ClipNetwork
from medvol_r1.propagator_training.clips import ClipLoader, LabelledVolumes
from medvol_r1.propagator_training.loss import PropagatorLoss
from medvol_r1.propagator_training.random_shapes import FIRST_SHAPE
from medvol_r1.propagator_training.trainer import (
    MovingAverage,
    PretrainedSaver,
    PropagatorTrainer,
    match_memory_scale,
    parameter_groups,
)
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def make_trainer(pool, clip_lengths=(2,), epochs=2, epoch_length=2, rate=1e-3, **changes):
    set_determinism(0)
    loader = ClipLoader(
        [pool],
        [1.0],
        clips=4,
        objects=2,
        size=32,
        epoch_length=epoch_length,
        max_epochs=epochs,
        clip_lengths=clip_lengths,
    )
    network = ClipNetwork(build_tiny_medsam2(image_size=32))
    groups = parameter_groups(network, encoder_lr=rate, decoder_lr=rate, memory_lr=rate, weight_decay=0.05)
    return PropagatorTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.AdamW(groups),
        loss_function=PropagatorLoss(),
        **changes,
    )


@pytest.mark.parametrize("clip_lengths", [(1,), (4,)])
def test_loss_falls_on_a_fixed_batch(pool, clip_lengths):
    trainer = make_trainer(pool, clip_lengths, epochs=1, epoch_length=16, truth_until=0.0, coarse_until=0.0)
    fixed = trainer.data_loader.batch(1, 0)
    trainer.data_loader.batch = lambda epoch, position: fixed
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output[0]["loss"]))
    )
    trainer.run()
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


def test_every_trained_parameter_gets_a_gradient(pool):
    trainer = make_trainer(pool, clip_lengths=(4,), epochs=1, epoch_length=1)
    trainer.run()
    trained = {name: p.grad for name, p in trainer.network.named_parameters() if p.requires_grad}
    idle = [name for name, grad in trained.items() if grad is None]
    # three of four mask tokens are not asked for; nobody may have been absent in one step
    assert all(
        "no_memory_positional" in n or "no_object" in n or "occlusion" in n or "hypernetworks" in n for n in idle
    ), idle
    assert any("memory_attention" in name and grad.abs().sum() > 0 for name, grad in trained.items())
    assert any("memory_encoder" in name and grad.abs().sum() > 0 for name, grad in trained.items())


def test_clips_go_on_in_the_middle_of_an_epoch(pool):
    loader = make_trainer(pool, epochs=3, epoch_length=4).data_loader
    loader.epoch, loader.first = 2, 3
    (last,) = loader
    assert all(torch.equal(value, loader.batch(2, 3)[name]) for name, value in last.items())


def test_the_average_comes_back_with_its_warmth():
    model = torch.nn.Linear(1, 1)

    def attached(average):
        engine = Engine(lambda engine, batch: model.weight.data.add_(1.0))
        average.attach(engine)
        return engine

    average = MovingAverage(model, momentum=0.1, momentum_warmup=0.5, warmup_iters=5)
    engine = attached(average)
    engine.run(range(3))
    kept, weight = copy.deepcopy(average.state_dict()), model.weight.data.clone()
    engine.run(range(2))
    expected = average.ema_model.weight.clone()
    model.weight.data.copy_(weight)
    again = MovingAverage(model, momentum=0.1, momentum_warmup=0.5, warmup_iters=5)
    engine = attached(again)
    again.load_state_dict(kept)
    engine.run(range(2))
    assert torch.equal(again.ema_model.weight, expected)


def test_a_gradient_that_is_not_finite_leaves_the_weights(pool):
    trainer = make_trainer(pool, clip_lengths=(1,), epochs=1, epoch_length=1)
    before = {name: weight.clone() for name, weight in trainer.network.named_parameters()}
    clean = trainer.loss_function
    trainer.loss_function = lambda *arguments: clean(*arguments) | {"loss": clean(*arguments)["loss"] * math.nan}
    with pytest.raises(FloatingPointError, match="Step 1: the gradient is non-finite"):
        trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.network.named_parameters())


def test_saved_model_loads_for_the_driver(pool, tmp_path):
    trainer = make_trainer(pool, clip_lengths=(1,), epochs=1, epoch_length=1)
    PretrainedSaver(trainer.network.model, tmp_path / "model").attach(trainer)
    trainer.run()
    model = load_medsam2(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 10_000_000
    logits = SlicePropagator(model).logits(np.zeros((2, 20, 20), np.float32), 0, [[2, 2, 9, 9]])
    assert logits.isfinite().all()


def test_parts_with_rate_zero_stay(pool):
    network = ClipNetwork(build_tiny_medsam2(image_size=32))
    parameter_groups(network, encoder_lr=0, decoder_lr=1e-3, memory_lr=1e-3, weight_decay=0.1)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert not any(name.startswith("model.vision_encoder") or ".conv_s" in name for name in trained)
    assert "model.mask_decoder.iou_token.weight" in trained and "memory_head.weight" in trained
    assert not any("mask_embed" in name and "no_mask" not in name for name in trained)


def test_memory_starts_at_the_scale_of_the_tokens(pool):
    trainer = make_trainer(pool)
    model = match_memory_scale(trainer.network.model, trainer.data_loader)
    weight = model.memory_attention.layer_norm.weight
    assert (weight == weight[0]).all() and 0 < weight[0] < 10 and weight[0] != 1


def test_truth_and_schedules_reach_the_network(pool):
    trainer = make_trainer(pool, epochs=1, epoch_length=10, truth_until=0.5, coarse_until=0.2)
    shares, weights = [], []
    trainer.network.forward = lambda image, boxes, truth, share: shares.append(share)

    def loss(prediction, truth, weight):
        weights.append(weight)
        return {"loss": torch.zeros((), requires_grad=True)}

    trainer.loss_function = loss
    trainer.run()
    np.testing.assert_allclose(shares, [1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(weights, [1, 0.5, 0, 0, 0, 0, 0, 0, 0, 0], atol=1e-9)


def nothing(slices):
    """Volumes in which no slice has an object."""
    return LabelledVolumes(torch.zeros(2, slices, 48, 48, dtype=torch.uint8), None, FIRST_SHAPE)


@pytest.mark.parametrize("clip_lengths", [(1,), (3,)])
def test_training_on_clips_without_objects_teaches_nothing_and_does_not_break(clip_lengths):
    trainer = make_trainer(nothing(5), clip_lengths, epochs=1, epoch_length=1)
    trainer.run()
    assert {name: float(value) for name, value in trainer.state.output[0].items()} == dict.fromkeys(
        ["loss", "key_dice", "tracked_dice", "presence_accuracy"], 0.0
    )
    for parameter in trainer.network.parameters():
        assert parameter.isfinite().all() and (parameter.grad is None or not parameter.grad.any())


def test_configs_run_both_stages(tmp_path, monkeypatch):
    """Stage 1, then stage 2 from what stage 1 wrote; small in everything."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # `run` adds the bundle, and nothing may be needed before
    small = {
        "device": "cpu",
        "image_size": 32,
        "random_volumes": 2,
        "phantom_volumes": 1,
        "validation_volumes": 1,
        "epochs": 1,
        "epoch_length": 2,
        "clips": 2,
        "val_interval": 1,
        "bundle_root": str(BUNDLE),
    }
    base = str(BUNDLE / "configs" / "train_propagator.json")
    stages = {
        "slices": (base, {}),
        "clips": (
            [base, str(BUNDLE / "configs" / "propagator_clips.json")],
            {"init_path": str(tmp_path / "slices" / "model"), "clip_lengths": [2]},
        ),
    }
    for name, (config, changes) in stages.items():
        workflow = ConfigWorkflow(
            config,
            meta_file=str(BUNDLE / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            output_dir=str(tmp_path / name),
            **small,
            **changes,
        )
        workflow.initialize()
        workflow.run()
        assert workflow.check_properties() == []
        assert load_medsam2(tmp_path / name / "model").image_size == 32
        assert (tmp_path / name / "checkpoints" / "checkpoint.pt").is_file()
        events = EventAccumulator(str(tmp_path / name))
        events.Reload()
        assert {"loss", "extent_dice"} <= set(events.Tags()["scalars"])
        assert "propagation/0" in events.Tags()["images"]

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
from medvol_r1.propagator_training.clip_network import ClipNetwork, ClipPrediction
from medvol_r1.propagator_training.clips import ClipLoader, LabelledVolumes
from medvol_r1.propagator_training.evaluator import PropagatorEvaluator, evaluation_cases, inscribed_ellipses
from medvol_r1.propagator_training.loss import PropagatorLoss, mask_loss
from medvol_r1.propagator_training.random_shapes import FIRST_SHAPE, RandomShapes
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


@pytest.fixture(scope="module")
def pool():
    shapes = RandomShapes(np.random.default_rng(0), (8, 48, 48))
    return LabelledVolumes(torch.from_numpy(np.stack([shapes.volume() for _ in range(3)])), None, FIRST_SHAPE)


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
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
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


def prediction_of(masks, slices, presence=5.0):
    logits = 40 * (masks - 0.5)
    shape = masks.shape[:2]
    return ClipPrediction(logits, torch.full(shape, presence), torch.ones(shape), slices, [])


def test_loss_of_a_perfect_and_of_an_empty_prediction():
    truth = torch.zeros(1, 2, 8, 8)
    truth[:, :, 2:6, 2:6] = 1
    perfect = PropagatorLoss()(prediction_of(truth, [0, 1]), truth)
    assert perfect["loss"] < 0.01
    assert perfect["key_dice"] == perfect["tracked_dice"] == perfect["presence_accuracy"] == 1
    nothing = PropagatorLoss()(prediction_of(torch.zeros_like(truth), [0, 1], presence=-5.0), truth)
    # 16 pixels * 20 nats / area 16 = 20, soft Dice 1 - 0.5 / 16.5, presence 0.5 * 5.0067, IoU 0.1 * 1
    assert float(nothing["loss"]) == pytest.approx(20 + 1 - 0.5 / 16.5 + 0.5 * 5.0067 + 0.1, abs=1e-3)
    assert nothing["key_dice"] == nothing["presence_accuracy"] == 0


def test_loss_leaves_out_objects_that_are_not_on_the_key_slice_and_masks_of_absent_ones():
    truth = torch.zeros(2, 2, 8, 8)
    truth[0, 0, 2:6, 2:6] = 1  # object 0 ends after the key slice
    truth[1, 1, 2:6, 2:6] = 1  # object 1 is not on the key slice: no prompt could name it
    predicted = prediction_of(truth[:1].repeat(2, 1, 1, 1), [0, 1])
    predicted = predicted._replace(presence=torch.tensor([[5.0, -5.0], [5.0, 5.0]]))
    scalars = PropagatorLoss()(predicted, truth)
    assert scalars["loss"] < 0.01 and scalars["presence_accuracy"] == 1


def test_mask_loss_does_not_depend_on_the_size():
    """An object and its copy at twice the side, both missed: the same cross-entropy."""
    small, large = torch.zeros(16, 16), torch.zeros(16, 16)
    small[:4, :4], large[:8, :8] = 1, 1
    losses = [mask_loss(torch.full((16, 16), -8.0), m, m.sum()) for m in (small, large)]
    assert float(losses[0] - losses[1]) == pytest.approx(0, abs=0.1)


def test_evaluator_scores_whole_volumes(pool):
    cases = evaluation_cases([pool], objects=2)
    assert cases and all(1 <= len(case.objects) <= 2 for case in cases)
    evaluator = PropagatorEvaluator(device="cpu", val_data_loader=cases[:1], network=build_tiny_medsam2(image_size=32))
    outputs = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.extend(engine.state.output))
    evaluator.run()
    case, output = cases[0].objects[0], outputs[0]
    assert output["pred"].shape == output["label"].shape == (1, *case.mask.shape)
    area = case.mask.sum((1, 2))
    assert area[case.key_index] == area.max()
    extent = case.mask.flatten(1).any(1)
    for baseline in ("ellipse", "copy"):
        assert torch.equal(output[baseline][0].flatten(1).any(1), extent)


def nothing(slices):
    """Volumes in which no slice has an object."""
    return LabelledVolumes(torch.zeros(2, slices, 48, 48, dtype=torch.uint8), None, FIRST_SHAPE)


def test_volumes_without_objects_have_no_cases_and_an_evaluator_says_so(pool):
    assert evaluation_cases([nothing(5)], objects=3) == []
    flat = LabelledVolumes(pool.labels[:, :2], None, pool.first_label)  # objects on two slices have no extent to find
    assert evaluation_cases([flat], objects=3) == []
    with pytest.raises(ValueError, match="no object to follow: .* covers 40 pixels or more, and at most 35%.*3 slices"):
        PropagatorEvaluator(device="cpu", val_data_loader=[], network=build_tiny_medsam2(image_size=32))


@pytest.mark.parametrize("clip_lengths", [(1,), (3,)])
def test_training_on_clips_without_objects_teaches_nothing_and_does_not_break(clip_lengths):
    trainer = make_trainer(nothing(5), clip_lengths, epochs=1, epoch_length=1)
    trainer.run()
    assert {name: float(value) for name, value in trainer.state.output.items()} == dict.fromkeys(
        ["loss", "key_dice", "tracked_dice", "presence_accuracy"], 0.0
    )
    for parameter in trainer.network.parameters():
        assert parameter.isfinite().all() and (parameter.grad is None or not parameter.grad.any())


def test_inscribed_ellipse_fills_pi_over_four_of_its_box():
    ellipse = inscribed_ellipses(torch.tensor([[10.0, 20, 90, 60]]), 80, 100)
    assert float(ellipse.sum()) == pytest.approx(np.pi / 4 * 80 * 40, rel=0.01)
    assert not ellipse[:, :10].any() and not ellipse[60:].any()


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

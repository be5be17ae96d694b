"""The loss of a clip by hand: what is missed, what counts nothing, what does not depend on the size."""

import pytest
import torch
from medvol_r1.propagator_training.clip_network import ClipPrediction
from medvol_r1.propagator_training.loss import PropagatorLoss, mask_loss


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

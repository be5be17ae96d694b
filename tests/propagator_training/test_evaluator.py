"""A propagator over whole volumes: the objects it is asked for, what is said of each, the trivial baselines."""

import numpy as np
import pytest
import torch
from ignite.engine import Events
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.propagator_training.clips import LabelledVolumes
from medvol_r1.propagator_training.evaluator import PropagatorEvaluator, evaluation_cases, inscribed_ellipses
from medvol_r1.propagator_training.random_shapes import FIRST_SHAPE


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


def test_volumes_without_objects_have_no_cases_and_an_evaluator_says_so(pool):
    empty = LabelledVolumes(torch.zeros(2, 5, 48, 48, dtype=torch.uint8), None, FIRST_SHAPE)
    assert evaluation_cases([empty], objects=3) == []
    flat = LabelledVolumes(pool.labels[:, :2], None, pool.first_label)  # objects on two slices have no extent to find
    assert evaluation_cases([flat], objects=3) == []
    with pytest.raises(ValueError, match="no object to follow: .* covers 40 pixels or more, and at most 35%.*3 slices"):
        PropagatorEvaluator(device="cpu", val_data_loader=[], network=build_tiny_medsam2(image_size=32))


def test_inscribed_ellipse_fills_pi_over_four_of_its_box():
    ellipse = inscribed_ellipses(torch.tensor([[10.0, 20, 90, 60]]), 80, 100)
    assert float(ellipse.sum()) == pytest.approx(np.pi / 4 * 80 * 40, rel=0.01)
    assert not ellipse[:, :10].any() and not ellipse[60:].any()

"""When the language model is validated, and what of its anchors."""

import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.training.validation import AnchorEvaluator, StepValidation, score_anchor
from monai.engines import SupervisedEvaluator
from tiny_models import save_random_lvlm


@pytest.mark.parametrize(
    "interval, steps, expected", [(2, 4, [2, 4]), (2, 5, [2, 4, 5]), (3, 2, [2]), (1, 3, [1, 2, 3])]
)
def test_it_validates_every_so_many_steps_and_after_the_last(interval, steps, expected):
    evaluator = SupervisedEvaluator(torch.device("cpu"), [{"image": torch.ones(1, 1)}], torch.nn.Identity())
    epochs = []
    evaluator.run = epochs.append
    engine = Engine(lambda engine, batch: None)
    StepValidation(interval, evaluator).attach(engine)
    engine.run(range(7), max_epochs=1, epoch_length=steps)
    assert epochs == expected


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="interval of validation is 0; .*validate_every"):
        StepValidation(0, None)


MASK = np.zeros((3, 10, 10), dtype=bool)
MASK[1, 2:6, 2:6] = True  # 16 pixels, box [2, 2, 6, 6] = 200..600
MASK[2, 2:4, 2:6] = True  # 8 pixels: visibility 8/16
EMPTY = np.zeros_like(MASK)


@pytest.mark.parametrize(
    "anchor, mask, expected",
    [
        (EvidenceAnchor(1, ((200, 200, 600, 600),)), MASK, {"format_rate": 1, "R_a": 1, "box_iou": 1}),
        # half of the true box: IoU 8/16
        (EvidenceAnchor(1, ((200, 200, 400, 600),)), MASK, {"format_rate": 1, "R_a": 1, "box_iou": 0.5}),
        # other slice: its own box counts, 8 of 8 pixels
        (EvidenceAnchor(2, ((200, 200, 600, 400),)), MASK, {"format_rate": 1, "R_a": 0.5, "box_iou": 1}),
        (EvidenceAnchor(0, ((200, 200, 600, 600),)), MASK, {"format_rate": 1, "R_a": 0, "box_iou": 0}),
        (EvidenceAnchor(1, ()), MASK, {"format_rate": 1, "R_a": 0, "box_iou": 0}),
        (EvidenceAnchor(0, ()), EMPTY, {"format_rate": 1, "absent_accuracy": 1}),
        (EvidenceAnchor(0, ((0, 0, 9, 9),)), EMPTY, {"format_rate": 1, "absent_accuracy": 0}),
        (None, MASK, {"format_rate": 0, "R_a": 0, "box_iou": 0}),
        (None, EMPTY, {"format_rate": 0, "absent_accuracy": 0}),
    ],
)
def test_scores_of_one_completion(anchor, mask, expected):
    text = "nothing" if anchor is None else format_completion(anchor)
    assert score_anchor(text, mask) == pytest.approx(expected)


def test_evaluator_averages_over_queries(tmp_path):
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[:, 1, 8:16, 4:20] = True
    item = VolumeQueries("case", torch.rand(3, 32, 32), ("the liver", "kidneys"), ("liver", "kidneys"), masks, ("", ""))

    class Answers(VolumeLVLM):
        def generate(self, volume, queries, **options):
            good = format_completion(EvidenceAnchor(1, ((125, 250, 625, 500),)))
            return [[type("C", (), {"text": text})] for text in (good, "no answer")]

    evaluator = AnchorEvaluator(torch.device("cpu"), [[item]], Answers(str(save_random_lvlm(tmp_path))))
    evaluator.run()
    metrics = evaluator.state.metrics
    assert metrics["format_rate"] == metrics["R_a"] == metrics["box_iou"] == 0.5
    assert math.isnan(metrics["absent_accuracy"])  # no absent target was asked for


def test_volumes_of_a_batch_are_scored_as_one_by_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[0, 1, 8:16, 4:20] = True
    names, nothing = ("the liver", "kidneys"), ("", "")
    items = [
        VolumeQueries(f"{n}", torch.rand(3, 32, 32, generator=generator), names, names, masks, nothing)
        for n in range(3)
    ]
    network, seen = VolumeLVLM(str(save_random_lvlm(tmp_path)), max_new_tokens=6), []
    for batches in ([[item] for item in items], [items]):
        evaluator = AnchorEvaluator(torch.device("cpu"), batches, network)
        evaluator.run()
        seen.append(evaluator.state.metrics)
    assert seen[0] == seen[1] and seen[0]["absent_accuracy"] == 0

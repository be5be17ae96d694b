import numpy as np
import pytest
import torch
from inference_stubs import BoxPropagator
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.prompt_masks import prompt_masks
from medvol_r1.propagation import SlicePropagator
from medvol_r1.slice_prompt import SlicePrompt

LEFT, RIGHT = (0.0, 0.0, 2.0, 4.0), (6.0, 0.0, 8.0, 4.0)


def test_a_shared_box_is_propagated_once_and_unions_are_per_prompt():
    propagator = BoxPropagator()
    prompts = [
        SlicePrompt(1, (LEFT, RIGHT)),
        SlicePrompt(1, (RIGHT,)),
        None,
        SlicePrompt(2, (LEFT,)),
        SlicePrompt(1, (RIGHT,)),
    ]
    masks = prompt_masks(propagator, torch.zeros(3, 4, 8), prompts, window=7)
    assert [call[1:] for call in propagator.calls] == [
        (1, [list(LEFT)], 7),
        (1, [list(RIGHT)], 7),
        (2, [list(LEFT)], 7),
    ]
    assert [found.mask.sum() for found in masks] == [16, 8, 0, 8, 8]
    assert masks[0].mask[1, :, :2].all() and masks[0].mask[1, :, 6:].all() and masks[3].mask[2, :, :2].all()
    assert [found.predicted_iou for found in masks] == [0.5, 0.5, 0, 0.5, 0.5]


def test_the_same_box_with_other_points_is_another_object():
    propagator = BoxPropagator()
    pointed, alone = (((1.5, 1.5),),), ((), ((7.5, 0.5),))
    prompts = [SlicePrompt(1, (LEFT,), pointed), SlicePrompt(1, (LEFT, LEFT), alone), SlicePrompt(1, (LEFT,), pointed)]
    masks = prompt_masks(propagator, torch.zeros(3, 4, 8), prompts)
    left = (1, [list(LEFT)], None)
    assert [call[1:] for call in propagator.calls] == [(*left, pointed[0]), left, (*left, alone[1])]
    assert [found.mask.sum() for found in masks] == [8, 9, 8]


def test_nothing_wanted_asks_nothing():
    propagator = BoxPropagator()
    assert not prompt_masks(propagator, torch.zeros(3, 4, 8), [None])[0].mask.any() and propagator.calls == []
    assert prompt_masks(propagator, torch.zeros(3, 4, 8), []) == []


def test_three_channels_and_the_real_driver_give_what_it_gives_for_each_prompt_alone():
    torch.manual_seed(0)
    propagator, slices = SlicePropagator(build_tiny_medsam2()), torch.rand(4, 3, 24, 24)
    prompts = [
        SlicePrompt(1, ((2.0, 3.0, 12.0, 14.0), (5.0, 5.0, 20.0, 20.0))),
        SlicePrompt(3, ((5.0, 5.0, 20.0, 20.0),)),
    ]
    together = prompt_masks(propagator, slices, prompts)
    for prompt, (mask, predicted_iou) in zip(prompts, together, strict=True):
        boxes = np.array(prompt.boxes_xyxy_px)
        alone = propagator.mask(slices, prompt.key_index, boxes).numpy()
        scored = propagator.scored_masks(slices, [(prompt.key_index, boxes)])[0]
        assert predicted_iou == pytest.approx(scored.predicted_iou, abs=1e-5)
        # Rounding of other batch sizes may flip a pixel on the border.
        assert mask.shape == (4, 24, 24) and np.mean(mask != alone) < 1e-3

"""A SAM stands where MedSAM2 stands."""

import numpy as np
import pytest
import torch
from medvol_r1.experts import load_sam
from medvol_r1.experts.expert import SegmentationExpert
from medvol_r1.inferer import EvidenceInferer
from medvol_r1.prompt_masks import prompt_masks
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import ConsistencyReward
from medvol_r1.slice_prompt import SlicePrompt


def test_medsam2_and_sam_have_what_is_asked_for(folders):
    asked = [name for name in vars(SegmentationExpert) if not name.startswith("_")]
    assert asked == ["to", "encode", "scored_masks", "masks"]
    for expert in (SlicePropagator, type(load_sam(folders["sam"])), type(load_sam(folders["sam2"]))):
        assert all(callable(getattr(expert, name)) for name in asked)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_it_stands_where_medsam2_stands(folders, image, kind):
    """In `prompt_masks`, in the inferer, in R_c."""
    expert, slices = load_sam(folders[kind]), torch.from_numpy(image)
    prompt = SlicePrompt.of(0, [[0, 0, 28, 20]], [[[14, 10], [7, 5]]])
    (found,) = prompt_masks(expert, slices, [prompt])
    answer = '{"bbox": [0, 0, 500, 500], "points_1": [250, 250], "points_2": [125, 125]}'
    completion = f"<think></think><answer>{answer}</answer>"
    inferer = EvidenceInferer(expert, answer_form="image")
    corrected = '{"key_slice": 1, "bbox_2d_list": [[0, 0, 500, 500]], "point_2d_list": [[[250, 250], [125, 125]]]}'
    decision = inferer.correct(slices[0][:, None], f"<think></think><answer>{corrected}</answer>")
    assert np.array_equal(decision.mask, found.mask) and found.mask.any()
    reward = ConsistencyReward(propagator=expert, answer_form="image")
    assert reward(completions=[completion], masks=[found.mask], slices=[image[:, 0]]) != [0.0]

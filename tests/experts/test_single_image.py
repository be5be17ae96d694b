"""What all SAMs do alike with an image and its prompts."""

import numpy as np
import pytest
import torch
from medvol_r1.experts import load_sam
from tiny_sams import BOX, HEIGHT, OTHER, POINTS, WIDTH


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_objects_are_united_and_an_encoded_image_serves_many_prompts(folders, image, kind):
    expert = load_sam(folders[kind])
    encoded = expert.encode(image)
    both, first, second, nothing = expert.scored_masks(
        encoded, [(0, [BOX, OTHER], [POINTS, []]), (0, [BOX], [POINTS]), (0, [OTHER]), (0, [])]
    )
    assert torch.equal(both.mask, first.mask | second.mask) and both.mask.shape == (1, HEIGHT, WIDTH)
    assert both.predicted_iou == pytest.approx((first.predicted_iou + second.predicted_iou) / 2)
    assert not nothing.mask.any() and nothing.predicted_iou == 0
    assert torch.equal(expert.masks(image, [(0, [OTHER])])[0], second.mask)
    grey = np.repeat(image[:, :1], 3, axis=1)
    assert torch.equal(expert.masks(grey, [(0, [BOX])])[0], expert.masks(image[:, 0], [(0, [BOX])])[0])


def test_volumes_and_bad_prompts_are_refused(folders, image):
    expert = load_sam(folders["sam"])
    with pytest.raises(ValueError, match="2 slices, and a SAM sees single images"):
        expert.encode(np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match="key_index is 1, outside 0..0 of the 1 slices"):
        expert.masks(image, [(1, [BOX])])
    with pytest.raises(ValueError, match="outside the slice of 56 columns and 40 rows"):
        expert.masks(image, [(0, [], [[[57, 3]]])])

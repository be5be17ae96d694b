"""The slices that the vision tower is pretrained on are those of the phantoms, with their labels."""

import numpy as np
import torch
from medvol_r1.demo_models.phantom_slices import PhantomSlices, _chances
from medvol_r1.demo_models.vision_pretraining import UNKNOWN
from medvol_r1.phantom.scan import LABELS, SEEDS, make_phantom


def test_dataset_holds_the_phantom():
    """Shares of 4x4 cells of one subset's labels; the labels that the subset does not name are unknown."""
    dataset = PhantomSlices("validation", 3, num_slices=30, slice_size=64, cell_size=4)
    item = dataset[2]  # renal
    seed = SEEDS["validation"][2]
    num_made = int(np.random.default_rng(seed).integers(24, 49))
    phantom = make_phantom(seed, "renal", shape=(64, 64, num_made), canonical=True)
    assert item["image"].shape == (min(30, num_made), 64, 64)
    assert item["label"].shape == (len(LABELS), min(30, num_made), 16, 16)
    for channel, value in enumerate(LABELS):
        if value not in phantom.label_names:
            assert (item["label"][channel] == UNKNOWN).all()
    kidney = phantom.label == 2  # channel 1; rows run along the second voxel axis
    slices = [
        kidney[:, :, z].T.reshape(16, 4, 16, 4).mean(axis=(1, 3)) for z in range(num_made) if kidney[:, :, z].any()
    ]
    found = [share.numpy() for share in item["label"][1] if share.any()]
    assert found and all(any(np.allclose(share, one, atol=1e-6) for one in slices) for share in found)
    again = dataset[2]
    assert torch.equal(item["image"], again["image"]) and torch.equal(item["label"], again["label"])


def test_slices_that_show_more_are_drawn_more_often():
    """Chances of two labels, one, none: 2.2, 1.2 and 0.2 of 3.6."""
    label = np.zeros((4, 4, 3), np.uint8)
    label[0, 0, 0], label[1, 1, 0], label[0, 0, 1] = 2, 11, 2
    np.testing.assert_allclose(_chances(label), np.array([2.2, 1.2, 0.2]) / 3.6)

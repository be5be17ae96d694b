"""Training walks over a clip as inference walks over a volume, and is taught what it is said to be."""

import pytest
import torch
import torch.nn.functional as F
from medvol_r1 import propagation
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.steps import remember
from medvol_r1.propagator_training.clip_network import ClipNetwork

BOXES = torch.tensor([[4.0, 6, 20, 22], [10.0, 2, 30, 16]])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ClipNetwork(build_tiny_medsam2(image_size=32)).eval()


@pytest.fixture
def slices():
    """[16,32,32] in 0..1, of 8 bits as the driver sees them; 16 slices are where its time scale is that of training."""
    return torch.randint(0, 256, (16, 32, 32), generator=torch.Generator().manual_seed(1)) / 255


def predicted(network, slices, length, truth=None, truth_share=0.0, first=0):
    """Of two objects on some slices of one clip; their boxes move by a pixel a slice."""
    boxes = (BOXES[:, None] + torch.arange(first, first + length)[:, None])[None]
    truth = torch.zeros(2, length, 16, 16) if truth is None else truth
    with torch.no_grad():
        return network(slices[None, first : first + length], boxes, truth, truth_share)


def test_a_clip_is_walked_as_a_volume_is(network, slices, monkeypatch):
    """The driver remembers in bfloat16, and makes the key mask 0/1 on a finer grid; else the walk is the same."""

    def remember_as_in_training(model, tokens, logits, presence, *, binary):
        mask = torch.where(logits > 0, 20.0, -20.0) if binary else logits
        return remember(model, tokens, mask, presence, binary=False, dtype=torch.float32)

    monkeypatch.setattr(propagation, "remember", remember_as_in_training)
    prediction = predicted(network, slices, length=4)
    assert (prediction.presence > 0).all()
    walked = propagation.SlicePropagator(network.model).logits(slices, 0, BOXES)[:, :4]
    expected = F.interpolate(prediction.logits[:, :4], size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(walked, expected, rtol=0, atol=1e-4)


def test_one_slice_is_predicted_once_more_with_a_box_of_its_own(network, slices):
    """Its memory plays no part then: it is as if the clip began there."""
    prediction = predicted(network, slices, length=3)
    assert prediction.slices[:3] == [0, 1, 2] and prediction.slices[3] in (1, 2)
    assert prediction.logits.shape == (2, 4, 16, 16) and prediction.presence.shape == prediction.iou.shape == (2, 4)
    assert [logits.shape for _, logits in prediction.coarse] == [(2, 4, 4)] * len(prediction.coarse)
    # heads: one of the memory for each tracked slice, one of the decoder for each prediction
    assert sorted(column for column, _ in prediction.coarse) == [0, 1, 1, 2, 2, 3]
    extra = prediction.slices[3]
    alone = predicted(network, slices, length=1, first=extra)
    assert alone.slices == [0]
    torch.testing.assert_close(alone.logits[:, 0], prediction.logits[:, 3])


def test_a_true_mask_is_remembered_in_place_of_the_predicted_one(network, slices):
    truth = torch.zeros(2, 3, 16, 16)
    truth[0, 0, 4:12, 4:12] = 1.0
    own = predicted(network, slices, 3, truth)
    torch.testing.assert_close(predicted(network, slices, 3).logits[:, :3], own.logits[:, :3])  # nobody looks at it
    taught = predicted(network, slices, 3, truth, truth_share=1.0)
    assert torch.equal(taught.logits[:, 0], own.logits[:, 0])
    for t in (1, 2):
        assert (taught.logits[:, t] - own.logits[:, t]).abs().amax(dim=(1, 2)).min() > 1e-4
    moved = truth.roll(4, dims=3)
    other = predicted(network, slices, 3, moved, truth_share=1.0).logits[:, 1]
    assert (other - taught.logits[:, 1])[0].abs().max() > 1e-5
    torch.testing.assert_close(other[1], taught.logits[1, 1])  # each object remembers its own mask

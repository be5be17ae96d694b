"""Clips: boxes, objects that are followed, determinism, bad arguments."""

import pytest
import torch
from medvol_r1.propagator_training.clips import ClipLoader, LabelledVolumes, boxes_of, jittered, phantom_volumes


def bars(depth=12, side=40):
    """Two labels: 1 is two parts on the first slices that meet from slice 6 on; 2 ends after slice 4."""
    labels = torch.zeros(1, depth, side, side, dtype=torch.uint8)
    labels[0, :, 5:13, 4:12] = 1
    labels[0, :, 5:13, 20:28] = 1
    labels[0, 6:, 5:13, 12:20] = 1
    labels[0, :5, 25:35, 8:20] = 2
    return LabelledVolumes(labels, None, 1)


def loader(pool, **changes):
    arguments = {"clips": 6, "objects": 3, "size": 40, "epoch_length": 4, "max_epochs": 4, "clip_lengths": [1, 3]}
    return ClipLoader([pool], [1.0], **(arguments | changes))


def test_boxes_are_half_open_pixel_edges():
    masks = torch.zeros(3, 8, 10, 10, dtype=torch.bool)[:, 0]
    masks[0, 2:5, 3:9] = True  # rows 2..4, columns 3..8
    masks[1, 9, 0] = True
    assert boxes_of(masks).tolist() == [[3, 2, 9, 5], [0, 9, 1, 10], [0, 0, 0, 0]]


def test_jitter_is_bounded_and_keeps_boxes_in_order():
    boxes = torch.tensor([[10.0, 20, 50, 30], [5, 5, 6, 6], [0, 0, 0, 0]]).repeat(200, 1, 1)
    moved = jittered(boxes, 0.05, torch.Generator().manual_seed(0))
    # width 40: 0.05 * 40 + 0.7 = 2.7; height 10: 1.2; side 1: a third of it
    most = torch.tensor([[2.7, 1.2, 2.7, 1.2], [1 / 3] * 4, [0] * 4])
    assert ((moved - boxes).abs() <= most + 1e-5).all() and (moved - boxes).abs().amax(0)[0, 0] > 2
    assert (moved[:, :2, 2:] > moved[:, :2, :2]).all()


def test_batches_are_a_function_of_seed_epoch_and_position():
    first, again = loader(bars(), seed=1), loader(bars(), seed=1)
    for name, value in first.batch(2, 3).items():
        assert torch.equal(value, again.batch(2, 3)[name]), name
    for other in (first.batch(2, 2), first.batch(3, 3), loader(bars(), seed=2).batch(2, 3)):
        assert other["image"].shape != first.batch(2, 3)["image"].shape or not torch.equal(
            other["image"], first.batch(2, 3)["image"]
        )


def test_shapes_follow_the_schedule_of_clip_lengths():
    clips = loader(bars())
    assert [clips.clip_length(epoch) for epoch in (1, 2, 3, 4, 5)] == [1, 1, 3, 3, 3]
    clips.epoch = 3
    batches = list(clips)
    assert len(batches) == len(clips) == 4
    for batch in batches:
        assert batch["image"].shape == (2, 3, 40, 40) and batch["image"].dtype == torch.float32
        assert batch["masks"].shape == (2, 3, 3, 40, 40) and batch["boxes"].shape == (2, 3, 3, 4)


def test_a_box_holds_one_connected_part_and_its_continuation():
    """Zoom 1 in the middle of the volume: the parts keep their sizes up to the turn."""
    clips = loader(bars(), clip_lengths=[6], zoom=(1.0, 1.0), ending_share=0.0, max_epochs=1)
    alone, merged = 0, 0
    for position in range(30):
        masks = clips.batch(1, position)["masks"].flatten(0, 1).flatten(2).sum(-1)  # [N,T] pixels
        for areas in masks.tolist():
            if areas[0] and 40 <= areas[0] <= 80:  # one of the two parts of label 1 (64 pixels)
                alone += 1
                merged += max(areas) > 150  # 8 x 24 = 192 pixels once the parts have met
    assert alone > 10 and 0 < merged < alone


def test_endings_are_seen():
    clips = loader(bars(), clip_lengths=[4], ending_share=1.0, max_epochs=1)
    vanished = torch.cat([clips.batch(1, i)["masks"].flatten(3).any(3).flatten(0, 1) for i in range(20)])
    there = vanished[vanished[:, 0]]
    assert 0.1 < (~there[:, -1]).float().mean() < 0.9


def test_a_volume_without_objects_gives_empty_masks():
    empty = LabelledVolumes(torch.zeros(1, 6, 20, 20, dtype=torch.uint8), None, 1)
    batch = loader(empty, clip_lengths=[2]).batch(1, 0)
    assert not batch["masks"].any() and (batch["boxes"] == 0).all()


def test_clips_of_one_slice_from_a_volume_of_one_slice():
    batch = loader(LabelledVolumes(bars(depth=1).labels, None, 1), clip_lengths=[1]).batch(1, 0)
    assert batch["image"].shape == (6, 1, 40, 40) and batch["masks"].any()


def test_two_hundred_objects_repeat_those_that_there_are():
    masks = loader(bars(), objects=200, clip_lengths=[3]).batch(1, 0)["masks"]
    assert masks.shape == (2, 200, 3, 40, 40) and len(masks[0].flatten(1).unique(dim=0)) <= 3  # two parts and a bar


def test_phantoms_are_shown_as_a_radiologist_sees_them():
    volumes = phantom_volumes(3, "train", shape=(48, 40, 16))
    assert volumes.labels.shape == volumes.images.shape == (3, 16, 40, 48)
    liver, spleen = ((volumes.labels[0] == name).nonzero().float().mean(0) for name in (1, 4))
    assert liver[2] < spleen[2]  # the liver is on the patient's right, the picture's left
    assert volumes.images.float().std() > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_lengths": [1, 13]}, r"clip_lengths are \[1, 13\]; 1\.\.12 slices are legal"),
        ({"clip_lengths": [0]}, r"clip_lengths are \[0\]"),
        ({"clip_lengths": []}, r"clip_lengths are \[\]; 1\.\.12 slices are legal"),
        ({"objects": 0}, "objects is 0; give 1 or more"),
        ({"clips": 0}, "clips is 0; give 1 or more"),
        ({"size": 0}, "size is 0; give 1 or more"),
        ({"epoch_length": 0}, "epoch_length is 0; give 1 or more"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        loader(bars(), **changes)
    with pytest.raises(ValueError, match=r"shares are \[\]; give one .* of the 0 pools"):
        ClipLoader([], [], clips=1, objects=1, size=8, epoch_length=1, max_epochs=1)
    with pytest.raises(ValueError, match=r"shares are \[0.5, 0.5\]; give one"):
        ClipLoader([bars()], [0.5, 0.5], clips=1, objects=1, size=8, epoch_length=1, max_epochs=1)

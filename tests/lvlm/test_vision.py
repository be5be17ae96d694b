"""Slices as the vision tower reads them: patches, and the channels that a model makes from one window."""

import numpy as np
import pytest
import torch
from medvol_r1.demo_models.tiny_lvlm import CHANNEL_RANGES
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.vision import slices_to_patches, stretched_channels, three_channels
from tiny_models import save_random_lvlm
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


def test_patches_equal_transformers_image_processor():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_resize=False
    )
    expected = processor([image.transpose(1, 2, 0) for image in pixels], return_tensors="pt")
    patches = slices_to_patches(torch.from_numpy(pixels) / 255, patch_size=16, merge_size=2, temporal_size=2)
    torch.testing.assert_close(patches, expected["pixel_values"].float(), rtol=0, atol=1e-6)
    assert expected["image_grid_thw"].tolist() == [[1, 4, 6], [1, 4, 6]]


def test_patches_refuse_a_side_that_does_not_divide():
    with pytest.raises(ValueError, match="40x32 pixels do not divide into 32x32.*slice_size"):
        slices_to_patches(torch.zeros(1, 3, 40, 32), 16, 2, 2)


def test_channels_by_hand():
    """0.5 of the window -160..240 is 40 HU: in -20..140 it is 60 / 160 = 0.375; it is below 80..240, so 0."""
    slices = torch.tensor([0.0, 0.5, 0.7, 1.0]).reshape(1, 1, 2, 2)
    channels = stretched_channels(slices, CHANNEL_RANGES)
    assert channels.shape == (1, 3, 2, 2)
    expected = [[0.0, 0.5, 0.7, 1.0], [0.0, 0.375, 0.875, 1.0], [0.0, 0.0, 0.25, 1.0]]
    torch.testing.assert_close(channels[0].flatten(1), torch.tensor(expected), rtol=0, atol=1e-6)


def test_channels_without_ranges_are_the_slices_own():
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(three_channels(grey, None), torch.cat([grey] * 3, dim=1))
    assert torch.equal(three_channels(colour, None), colour)
    assert torch.equal(three_channels(grey, CHANNEL_RANGES), stretched_channels(grey, CHANNEL_RANGES))


def test_ranges_travel_with_the_weights(tmp_path):
    """A model says in its config how it was trained; without a word it gets three equal channels, as Qwen's own do."""
    model = VolumeLVLM(str(save_random_lvlm(tmp_path / "one", channel_ranges=CHANNEL_RANGES)))
    slices = torch.rand(2, 32, 32)
    model.save(tmp_path / "copy")
    again = VolumeLVLM(str(tmp_path / "copy"))
    plain = VolumeLVLM(str(save_random_lvlm(tmp_path / "plain", channel_ranges=None)))
    seen = model.encode(slices).visual_embeds
    torch.testing.assert_close(again.encode(slices).visual_embeds, seen)
    assert (plain.encode(slices).visual_embeds - seen).abs().max() > 1e-4  # the same seed, other channels
    three = stretched_channels(slices[:, None], CHANNEL_RANGES)
    torch.testing.assert_close(plain.encode(three).visual_embeds, seen)


def test_three_windows_for_a_model_that_makes_its_own(tmp_path):
    model = VolumeLVLM(str(save_random_lvlm(tmp_path, channel_ranges=CHANNEL_RANGES)))
    with pytest.raises(ValueError, match="makes its channels from one window, got 3 .*`windows`"):
        model.encode(torch.rand(2, 3, 32, 32))

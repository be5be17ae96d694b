"""Slices as PNG images: 8 bits a value, grey or colour, any order of axes told."""

import pytest
import torch
from chat_server import picture_of
from medvol_r1.served_lvlm.slice_pictures import slice_urls


def test_grey_values_are_rounded_to_8_bits():
    # 0.99 * 255 = 252.45; 0.5 * 255 = 127.5, to the even 128; 0.32 * 255 = 81.6; what lies outside is clipped.
    slices = torch.tensor([[[0.0, 0.99, 0.5], [0.32, 1.0, 1.2]], [[-0.1, 1.0, 0.0], [0.0, 0.0, 0.004]]])
    pictures = [picture_of(url) for url in slice_urls(slices)]
    assert [picture.tolist() for picture in pictures] == [[[0, 252, 128], [82, 255, 255]], [[0, 255, 0], [0, 0, 1]]]


def test_three_channels_are_colours():
    slices = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    first, second = (picture_of(url) for url in slice_urls(slices))
    assert first.shape == (4, 5, 3)
    assert second[1, 2].tolist() == (slices[1, :, 1, 2] * 255).round().int().tolist()


def test_one_channel_is_grey():
    slices = torch.rand(3, 1, 4, 5)
    assert slice_urls(slices) == slice_urls(slices[:, 0])


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (2, 2, 4, 4), (1, 3, 2, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"Slices must have the shape \[S, H, W\] or \[S, 3, H, W\], got \["):
        slice_urls(torch.zeros(shape))

"""A volume on disk and its label maps as they are shown: windowed, sampled, in few bytes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from ..volume.body_crop import AIR_HU, CropToBodyd
from ..volume.transforms import LoadSlicesd, ResizeSlicesd, WindowIntensityd
from ..volume.windows import CT


def shown_volume(
    image: str,
    labels: Sequence[str],
    *,
    num_slices: int,
    slice_size: int,
    window: Sequence[float],
    crop_to_body: bool,
    intensity: str = CT,
) -> dict[str, torch.Tensor]:
    """The shown slices of an image, and of label files on its grid.

    Args:
        image: its path.
        labels: paths of label maps, at least one.
        num_slices: S; a volume with fewer keeps them all.
        slice_size: H = W in pixels.
        window: lower and upper HU of a CT, which become 0 and 255.
        crop_to_body: show the body of a CT, not all of the field of view.
        intensity: what the values of the image are, see `windows.INTENSITIES`.

    Returns:
        `image`, uint8 [S, H, W], or [S, 3, H, W] of a coloured image: rounded, so off by at most 1 / 510 of the window;
        and `labels`, [L, S, H, W], uint8 or, for values outside of 0..255, int32.

    Raises:
        VolumeError: a volume that cannot be used, or a label that does not lie on its image.
        ValueError: an unknown intensity.
    """
    keys = ["image", *labels]
    data: Mapping[Hashable, Any] = {"image": image} | {path: path for path in labels}
    crop = [CropToBodyd(keys, fill=[AIR_HU] + [0.0] * len(labels))] if crop_to_body and intensity == CT else []
    for transform in (  # not composed: `Compose` would hide the reason of an error
        LoadSlicesd(keys, num_slices, label_keys=keys[1:], intensity=intensity),
        *crop,
        WindowIntensityd("image", intensity, [window]),
        ResizeSlicesd(keys, slice_size, mode=["bilinear"] + ["nearest"] * len(labels)),
    ):
        data = transform(data)
    shown = torch.stack([data[path][0].as_tensor() for path in labels])
    channels = data["image"].as_tensor()
    slices = channels[0] if len(channels) == 1 else channels.transpose(0, 1)
    fits = 0 <= shown.min() and shown.max() <= 255
    return {
        "image": (slices * 255).round().to(torch.uint8),
        "labels": shown.to(torch.uint8 if fits else torch.int32),
    }

"""Clips for training the propagator: a key slice and the slices after it, objects with boxes.

A pool of volumes is made once; every batch cuts, turns, zooms and repaints them anew. Batches are a function of
(seed, epoch, position), so that a resumed run continues with what it would have seen.

Letters: B clips; P prompted objects of a clip; T slices of a clip, the key slice first; R rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import ignite.distributed as idist
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..phantom.scan import SEEDS, SUBSETS, make_phantom
from ..volume.windows import HUWindow
from .random_shapes import FIRST_SHAPE, RandomShapes, render

_MIN_PIXELS = 24  # smallest object on a key slice
_MAX_SHARE = 0.4  # largest object's share of a slice
_LABELS = 256  # of a uint8


class LabelledVolumes(NamedTuple):
    """V volumes of D slices: what clips are cut from.

    `labels` uint8 [V,D,R,R]; `images` uint8 [V,D,R,R], or None where pictures are rendered from the labels; labels from
    `first_label` on can be prompted.
    """

    labels: Tensor
    images: Tensor | None
    first_label: int


def random_shape_volumes(count: int, seed: int) -> LabelledVolumes:
    """`count` volumes of `RandomShapes`, 26 slices of 112 x 112; about 20 ms each."""
    shapes = RandomShapes(np.random.default_rng(seed))
    return LabelledVolumes(torch.from_numpy(np.stack([shapes.volume() for _ in range(count)])), None, FIRST_SHAPE)


def phantom_volumes(
    count: int,
    split: str = "train",
    shape: tuple[int, int, int] = (112, 112, 40),
    window_hu: tuple[float, float] = (-160.0, 240.0),
) -> LabelledVolumes:
    """`count` phantoms, the subsets in turn, as they are shown: rows top = anterior, columns left = patient right.

    Args:
        count: number of volumes.
        split: key of `phantom.scan.SEEDS`.
        shape: columns, rows, slices.
        window_hu: lower and upper end, mapped to 0 and 255.
    """
    window = HUWindow(window_hu)
    seeds = SEEDS[split]
    labels, images = [], []
    for i in range(count):
        phantom = make_phantom(seeds[i], SUBSETS[i % len(SUBSETS)], shape=shape, canonical=True)
        labels.append(phantom.label.transpose(2, 1, 0))
        images.append(np.rint(window(phantom.image) * 255).astype(np.uint8).transpose(2, 1, 0))
    return LabelledVolumes(torch.from_numpy(np.stack(labels)), torch.from_numpy(np.stack(images)), 1)


class ClipLoader:
    """Iterable over the batches of an epoch: the one numbered `epoch` (1-based), from the batch `first` (0-based) on.

    A batch: `image` float32 [B,T,R,R] in 0..1; `masks` bool [B,P,T,R,R]; `boxes` float32 [B,P,T,4], jittered xyxy pixel
    edges of the object on each slice (zeros where it is absent). Slice 0 is the key slice.

    Each of several processes makes every batch and goes through its share of the clips.

    Args:
        pools: where volumes come from.
        shares: probability of each pool.
        clips: B of a clip of one slice; longer clips get fewer so that B * T stays near it, but at least `min_clips`.
        objects: P.
        size: R of a batch.
        epoch_length: batches of an epoch.
        clip_lengths: T through the run, in equal parts of `max_epochs`.
        max_epochs: epochs of the run.
        zoom: range of the field of view, as a share of the volume's side.
        ending_share: share of clips that are placed where an object ends.
        jitter: largest shift of a box's side, as a share of its width or height.
        min_clips: least B.
        seed: of the batches.
    """

    def __init__(
        self,
        pools: Sequence[LabelledVolumes],
        shares: Sequence[float],
        *,
        clips: int,
        objects: int,
        size: int,
        epoch_length: int,
        max_epochs: int,
        clip_lengths: Sequence[int] = (1,),
        zoom: tuple[float, float] = (0.5, 1.35),
        ending_share: float = 0.5,
        jitter: float = 0.06,
        min_clips: int = 2,
        seed: int = 0,
    ) -> None:
        sizes = {"clips": clips, "objects": objects, "size": size, "min_clips": min_clips}
        sizes |= {"epoch_length": epoch_length, "max_epochs": max_epochs}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more")
        if not pools or len(pools) != len(shares) or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f"shares are {list(shares)}; give one non-negative number for each of the {len(pools)} pools"
            )
        if min_clips < idist.get_world_size():
            raise ValueError(
                f"min_clips is {min_clips} for {idist.get_world_size()} processes, which share a batch; give 1 or more "
                "for each"
            )
        deepest = min(pool.labels.shape[1] for pool in pools)
        if not clip_lengths or not 1 <= min(clip_lengths) <= max(clip_lengths) <= deepest:
            raise ValueError(f"clip_lengths are {list(clip_lengths)}; 1..{deepest} slices are legal with these pools")
        self.pools, self.shares = list(pools), torch.tensor(shares, dtype=torch.float64)
        self.clips, self.objects, self.size, self.min_clips = clips, objects, size, min_clips
        self.epoch_length, self.max_epochs, self.clip_lengths = epoch_length, max_epochs, list(clip_lengths)
        self.zoom, self.ending_share, self.jitter, self.seed = zoom, ending_share, jitter, seed
        self.epoch, self.first = 1, 0
        self._present = [_presence(pool) for pool in pools]

    def __len__(self) -> int:
        return self.epoch_length

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for position in range(self.first, self.epoch_length):
            batch = self.batch(self.epoch, position)
            yield {name: value[idist.get_rank() :: idist.get_world_size()] for name, value in batch.items()}

    def clip_length(self, epoch: int) -> int:
        """T in an epoch (1-based)."""
        part = (epoch - 1) * len(self.clip_lengths) // self.max_epochs
        return self.clip_lengths[min(part, len(self.clip_lengths) - 1)]

    def batch(self, epoch: int, position: int) -> dict[str, Tensor]:
        """The batch at a position (0-based) of an epoch (1-based)."""
        generator = torch.Generator().manual_seed((self.seed * 1009 + epoch) * 100_003 + position)
        length = self.clip_length(epoch)
        number = int(torch.multinomial(self.shares, 1, generator=generator))
        pool = self.pools[number]
        cuts = [
            self._cut(self._present[number], length, generator)
            for _ in range(max(self.min_clips, self.clips // length))
        ]
        labels = torch.stack([pool.labels[volume, order] for volume, order in cuts])
        images = None if pool.images is None else torch.stack([pool.images[volume, order] for volume, order in cuts])
        labels, images = _moved(labels, images, self.size, self.zoom, generator)
        picture = render(labels, generator) if images is None else _recoloured(images, generator)
        masks = torch.stack([self._objects(clip, pool.first_label, generator) for clip in labels])
        boxes = jittered(boxes_of(masks), self.jitter, generator)
        return {"image": picture, "masks": masks, "boxes": boxes}

    def _cut(self, present: Tensor, length: int, generator: torch.Generator) -> tuple[int, Tensor]:
        """A volume and the T slices to take from it, in either direction, one or two slices a step.

        `present` bool [V,D,_LABELS]: objects of each slice.
        """
        depth = present.shape[1]
        volume = int(torch.randint(len(present), (1,), generator=generator))
        chances = torch.rand(4, generator=generator).tolist()
        direction = 1 if chances[0] < 0.5 else -1
        step = 2 if chances[1] < 0.3 and 2 * (length - 1) < depth else 1
        extent = _extent(present[volume], generator)
        if chances[2] < self.ending_share:  # the object's last slice is one of the clip, not the key slice if possible
            before = 1 + int(chances[3] * (length - 1)) if length > 1 else 0
            key = int(extent[-1 if direction > 0 else 0]) - direction * step * before
        else:
            key = int(extent[int(chances[3] * len(extent))])
        span = (length - 1) * step
        lowest, highest = (0, depth - 1 - span) if direction > 0 else (span, depth - 1)
        key = min(max(key, lowest), highest)
        return volume, key + direction * step * torch.arange(length)

    def _objects(self, labels: Tensor, first_label: int, generator: torch.Generator) -> Tensor:
        """bool [P,T,R,R]: connected parts of labels [T,R,R] on the key slice, followed; none fits: empty masks."""
        masks = torch.zeros(self.objects, *labels.shape, dtype=torch.bool)
        pixels = torch.bincount(labels[0].flatten().long(), minlength=_LABELS)
        fits = (pixels >= _MIN_PIXELS) & (pixels <= _MAX_SHARE * self.size**2)
        fits[:first_label] = False
        names = fits.nonzero()[:, 0]
        names = names[torch.randperm(len(names), generator=generator)]
        for p in range(self.objects if len(names) else 0):
            masks[p] = _followed(labels == names[p % len(names)], generator)
        return masks


def boxes_of(masks: Tensor) -> Tensor:
    """Bounding boxes [...,4] of masks [...,R,R]: xyxy half-open pixel edges, float32; zeros where a mask is empty."""
    side = masks.shape[-1]
    index = torch.arange(side)
    edges = []
    for axis in (-2, -1):  # columns, then rows
        occupied = masks.any(axis)
        edges.append((torch.where(occupied, index, side).amin(-1), torch.where(occupied, index + 1, 0).amax(-1)))
    (x1, x2), (y1, y2) = edges
    boxes = torch.stack([x1, y1, x2, y2], -1).float()
    return boxes * (x2 > x1)[..., None]


def jittered(boxes: Tensor, share: float, generator: torch.Generator, pixels: float = 0.7) -> Tensor:
    """Move each side of boxes [...,4] by up to `share` of its width or height plus `pixels`, at most a third of it."""
    extent = (boxes[..., 2:] - boxes[..., :2]).repeat_interleave(2, -1)[..., [0, 2, 0, 2]]
    most = torch.minimum(share * extent + pixels, extent / 3)
    return boxes + (2 * torch.rand(boxes.shape, generator=generator) - 1) * most


def _presence(pool: LabelledVolumes) -> Tensor:
    """bool [V,D,_LABELS]: which labels that can be prompted each slice has, large enough to be a key slice."""
    slices = pool.labels.flatten(0, 1).flatten(1)
    pixels = torch.stack([torch.bincount(each.int(), minlength=_LABELS) for each in slices])
    pixels[:, : pool.first_label] = 0
    return (pixels >= _MIN_PIXELS).view(*pool.labels.shape[:2], _LABELS)


def _extent(present: Tensor, generator: torch.Generator) -> Tensor:
    """Slices [n] on which a random object is, from `present` [D,_LABELS]; all slices when there is no object."""
    names = present.any(0).nonzero()[:, 0]
    if len(names) == 0:
        return torch.arange(len(present))
    name = names[torch.randint(len(names), (1,), generator=generator)]
    return present[:, name[0]].nonzero()[:, 0]


def _followed(mask: Tensor, generator: torch.Generator) -> Tensor:
    """One connected part of the first slice of a mask [T,R,R] and, slice after slice, the parts that overlap it.

    The pipeline gives each connected part its own box, so that is what a box means here.
    """
    parts, count = ndimage.label(mask[0].numpy(), structure=np.ones((3, 3)))
    sizes = torch.from_numpy(np.bincount(parts.ravel(), minlength=count + 1)[1:].astype(float))
    if count > 1:
        sizes[sizes < min(_MIN_PIXELS, sizes.max())] = 0
        chosen = 1 + int(torch.multinomial(sizes, 1, generator=generator))
    else:
        chosen = 1
    followed = [parts == chosen]
    for slice_mask in mask[1:].numpy():
        parts, _ = ndimage.label(slice_mask, structure=np.ones((3, 3)))
        touched = np.unique(parts[followed[-1]])
        followed.append(np.isin(parts, touched[touched > 0]))
    return torch.from_numpy(np.stack(followed))


def _recoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random contrast, brightness, gamma and noise for [B,T,R,R] of 0..255, some inverted -> 0..1 in steps of 1/255."""
    count = len(images)
    chances = torch.rand(5, count, 1, 1, 1, generator=generator)
    image = (images / 255) ** torch.exp(1.4 * (chances[0] - 0.5))
    image = (image - 0.5) * (0.7 + 0.5 * chances[1]) + 0.5 + 0.2 * (chances[2] - 0.5)
    image = torch.where(chances[3] < 0.15, 1 - image, image)
    image = image + 0.04 * chances[4] * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round() / 255


def _moved(
    labels: Tensor, images: Tensor | None, size: int, zoom: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """One random turn, zoom, flip and shift for all slices of a clip: [B,T,R,R] -> [B,T,size,size]."""
    count, depth = labels.shape[:2]
    low, high = (math.log(z) for z in zoom)
    view = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
    upright = torch.rand(count, generator=generator) < 0.5
    angle = (2 * torch.rand(count, generator=generator) - 1) * torch.where(upright, 0.25, math.pi)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * (0.12 + 0.5 * (1 - view).clamp(min=0))[:, None]
    cosine, sine = angle.cos() * view, angle.sin() * view
    rows = torch.stack([cosine * flip, -sine, shift[:, 0]], 1), torch.stack([sine * flip, cosine, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack(rows, 1), [count, depth, size, size], align_corners=False)
    moved = F.grid_sample(labels.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)
    if images is None:
        return moved, None
    return moved, F.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)

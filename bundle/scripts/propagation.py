"""From what marks objects on a key slice to masks through the slices: MedSAM2 forward and in reverse, all at once.

Every object is marked by a box, by positive points, or by both. It walks from the key slice to both ends; the two
directions do not know of each other. All (object, direction) pairs at the same distance from the key slice are one
batch; the key slice is decoded once for both, and a slice is encoded once for a volume, however many objects ask for
it. With zoom every object with a box has its own crop (`zoom`), and a slice is encoded once for an object. A single
image is a volume of one slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE

from .medsam2.prompt_points import PromptPoints
from .medsam2.slice_features import SliceFeatures
from .medsam2.steps import Decoded, ImageFeatures, Memory, attend, decode, followed_by, remember, without_memory
from .medsam2.zoom import Crop, crop_around, in_crops, whole_slice
from .slice_prompt import SlicePrompt, checked_prompt

_DIRECTIONS = (1, -1)


class ScoredMask(NamedTuple):
    """What came of an anchor.

    Args:
        mask: bool [S,H,W], the union over its objects.
        predicted_iou: what MedSAM2 expects its IoU to be, 0..1: the mean over the slices on which it judges the object
            present, then over the objects; 0 without any.
    """

    mask: Tensor
    predicted_iou: float


class SlicePropagator:
    """Drives a frozen MedSAM2 from boxes and points on one slice through a volume.

    Args:
        model: see `medsam2.load_medsam2`; its device and dtype are used.
        max_batch: most (object, direction) pairs in one call of the model; bounds the memory, not the number of
            objects.
        zoom_margin: follow each box in a square crop around it, with this share of its longer side left free on every
            side; what grows beyond the crop on other slices is cut off. None: in the whole slice, as the paper does.
    """

    def __init__(self, model: Sam2VideoModel, max_batch: int = 32, zoom_margin: float | None = None) -> None:
        if max_batch < 2:
            raise ValueError(f"max_batch is {max_batch}; an object needs both directions, so give 2 or more")
        if zoom_margin is not None and not (
            isinstance(zoom_margin, (int, float)) and math.isfinite(zoom_margin) and zoom_margin >= 0
        ):
            raise ValueError(
                f"zoom_margin is {zoom_margin!r}; give a share of the box's longer side, 0 or more, or null: no zoom"
            )
        self.model, self.max_batch, self.zoom_margin = model, max_batch, zoom_margin

    def to(self, device: torch.device | str) -> SlicePropagator:
        """Move the model; returns self."""
        self.model.to(device)
        return self

    def encode(self, slices: ArrayLike) -> SliceFeatures:
        """Wrap a volume so that several calls share the features of its slices.

        Args:
            slices: [S,H,W] or [S,3,H,W], float in 0..1. They are rounded to 8 bits and resized by PIL, as in the
                official code.

        Raises:
            ValueError: another shape, not finite, or outside 0..1.
        """
        return SliceFeatures(self.model, slices)

    @torch.no_grad()
    def logits(
        self,
        slices: ArrayLike | SliceFeatures,
        key_index: int,
        boxes_xyxy_px: ArrayLike,
        window: int | None = None,
        points_xy_px: Sequence[ArrayLike] = (),
    ) -> Tensor:
        """Mask logits of every object through the volume.

        Args:
            slices: [S,H,W] or [S,3,H,W], float in 0..1, or what `encode` returned.
            key_index: 0-based slice of the boxes.
            boxes_xyxy_px: [N,4] in pixels of the slices, x along columns; clipped to the slice. N may be 0.
            window: slices walked to each side; None: to both ends.
            points_xy_px: positive points of each object, [M,2] as x, y in pixels of the slices: one entry a box, empty
                for a box without points. Without boxes one entry an object. Without points: empty.

        Returns:
            float32 [N,S,H,W] on the model's device; -1024 where the object is judged absent, outside the window, and
            outside the crop of a zoom.

        Raises:
            ValueError: see `slice_prompt.checked_prompt`; negative window; slices as for `encode`.
        """
        features = self._features(slices)
        objects = self._checked(features, (key_index, boxes_xyxy_px, points_xy_px)).objects
        out = torch.full((len(objects), features.num_slices, *features.shape), NO_OBJ_SCORE, device=self.model.device)
        for row, (crop, logits, _) in enumerate(self._propagated(features, objects, window)):
            seen = (logits > NO_OBJ_SCORE).flatten(1).any(1)
            out[row, seen, *crop.pixels] = _resized(logits[seen], crop.height, crop.width)
        return out

    @torch.no_grad()
    def mask(
        self,
        slices: ArrayLike | SliceFeatures,
        key_index: int,
        boxes_xyxy_px: ArrayLike,
        window: int | None = None,
        points_xy_px: Sequence[ArrayLike] = (),
    ) -> Tensor:
        """Union of the objects' masks, bool [S,H,W]; all False without any. Arguments as for `logits`."""
        return self.masks(slices, [(key_index, boxes_xyxy_px, points_xy_px)], window)[0]

    @torch.no_grad()
    def masks(
        self,
        slices: ArrayLike | SliceFeatures,
        anchors: Sequence[tuple[int, ArrayLike] | tuple[int, ArrayLike, Sequence[ArrayLike]]],
        window: int | None = None,
    ) -> list[Tensor]:
        """For each anchor what `mask` gives, with the objects of all anchors batched together.

        Args:
            slices: as for `logits`.
            anchors: (key_index, boxes_xyxy_px) or (key_index, boxes_xyxy_px, points_xy_px) each, as a `SlicePrompt`
                is; the key slices may differ.
            window: as for `logits`.
        """
        return [scored.mask for scored in self.scored_masks(slices, anchors, window)]

    @torch.no_grad()
    def scored_masks(
        self,
        slices: ArrayLike | SliceFeatures,
        anchors: Sequence[tuple[int, ArrayLike] | tuple[int, ArrayLike, Sequence[ArrayLike]]],
        window: int | None = None,
    ) -> list[ScoredMask]:
        """What `masks` gives, each with its predicted IoU. Arguments as for `masks`."""
        features = self._features(slices)
        of_anchors = [self._checked(features, anchor).objects for anchor in anchors]
        owners = [owner for owner, objects in enumerate(of_anchors) for _ in objects]
        unions = torch.zeros((len(anchors), features.num_slices, *features.shape), dtype=torch.bool)
        unions = unions.to(self.model.device)
        expected: list[list[float]] = [[] for _ in anchors]
        propagated = self._propagated(features, [one for objects in of_anchors for one in objects], window)
        for owner, (crop, logits, ious) in zip(owners, propagated, strict=True):
            seen = (logits > 0).flatten(1).any(1)
            unions[owner, seen, *crop.pixels] |= _resized(logits[seen], crop.height, crop.width) > 0
            expected[owner].append(float(ious.nanmean().nan_to_num()))
        return [ScoredMask(union, sum(ious) / max(len(ious), 1)) for union, ious in zip(unions, expected, strict=True)]

    @staticmethod
    def _checked(features: SliceFeatures, anchor: Sequence) -> SlicePrompt:
        key_index, boxes, *points = anchor
        return checked_prompt(key_index, boxes, points[0] if points else (), features.num_slices, *features.shape)

    def _features(self, slices: ArrayLike | SliceFeatures) -> SliceFeatures:
        return slices if isinstance(slices, SliceFeatures) else self.encode(slices)

    def _propagated(
        self, features: SliceFeatures, objects: Sequence[SlicePrompt], window: int | None
    ) -> Iterator[tuple[Crop, Tensor, Tensor]]:
        """For each object, a prompt of its own, its crop, the logits [S,4h,4w] in it, and the predicted IoU [S].

        `max_batch // 2` objects are computed at a time.
        """
        if window is not None and window < 0:
            raise ValueError(f"window is {window}; give the slices to walk to each side (0 or more), or None for all")
        prompts = [PromptPoints.of_object(one) for one in objects]
        crops = [self._crop(prompt, *features.shape) for prompt in prompts]
        keys = [one.key_index for one in objects]
        step = self.max_batch // len(_DIRECTIONS)
        for first in range(0, len(objects), step):
            part = slice(first, first + step)
            found = self._propagate(features, torch.tensor(keys[part]), prompts[part], crops[part], window)
            yield from zip(crops[part], *found, strict=True)

    def _crop(self, prompt: PromptPoints, height: int, width: int) -> Crop:
        if self.zoom_margin is None or not prompt.has_box:
            return whole_slice(height, width)
        around = [*prompt.xy[0].amin(0).tolist(), *prompt.xy[0].amax(0).tolist()]
        return crop_around(around, self.zoom_margin, height, width)

    def _decode_prompts(self, image: ImageFeatures, prompts: Sequence[PromptPoints], crops: Sequence[Crop]) -> Decoded:
        """The N objects on their key slices, those that are marked alike in one call of the decoder."""
        image = image._replace(tokens=without_memory(self.model, image.tokens))
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(prompts):
            alike.setdefault(prompt.labels, []).append(number)
        found = []
        for labels, numbers in alike.items():
            xy = torch.cat([prompts[number].xy for number in numbers])
            xy = in_crops(xy, [crops[number] for number in numbers], self.model.image_size)
            prompt = PromptPoints(xy.to(self.model.device, torch.float32), labels)
            found.append(decode(self.model, image.take(torch.tensor(numbers, device=self.model.device)), prompt))
        order = torch.tensor([number for numbers in alike.values() for number in numbers]).argsort()
        return Decoded(*(torch.cat(parts)[order.to(self.model.device)] for parts in zip(*found, strict=True)))

    def _propagate(
        self,
        features: SliceFeatures,
        keys: Tensor,
        prompts: Sequence[PromptPoints],
        crops: Sequence[Crop],
        window: int | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [N,S,4h,4w] of N objects on slices [N], each in its crop, and the predicted IoU [N,S], NaN where the
        object is judged absent and outside the window."""
        model, count, total = self.model, len(prompts), features.num_slices
        reach = total - 1 if window is None else min(window, total - 1)
        image = features.of(keys, crops)
        key_decoded = self._decode_prompts(image, prompts, crops)
        out = key_decoded.logits.new_full((count, total, *key_decoded.logits.shape[1:]), NO_OBJ_SCORE)
        ious = out.new_full((count, total), torch.nan)
        here = torch.arange(count, device=model.device), keys.to(model.device)
        out[here], ious[here] = key_decoded.logits, _predicted_iou(key_decoded)
        key_memory = Memory(
            remember(model, image.tokens, key_decoded.logits, key_decoded.presence, binary=not model.training),
            key_decoded.pointer,
        )
        objects = torch.arange(count).repeat(len(_DIRECTIONS))
        directions = torch.tensor(_DIRECTIONS).repeat_interleave(count)
        key_memory = key_memory.take(objects.to(model.device))
        tracked: list[Memory] = []
        for distance in range(1, reach + 1):
            inside = torch.nonzero(_within(keys[objects] + directions * distance, total))[:, 0]
            if len(inside) == 0:
                break
            if len(inside) < len(objects):  # some have reached an end of the volume
                objects, directions, inside = objects[inside], directions[inside], inside.to(model.device)
                key_memory = key_memory.take(inside)
                tracked = [memory.take(inside) for memory in tracked]
            index = keys[objects] + directions * distance
            image = features.of(index, [crops[i] for i in objects.tolist()])
            tokens = attend(model, image.tokens, features.positions, key_memory, tracked, total, distance)
            decoded = decode(model, image._replace(tokens=tokens))
            here = objects.to(model.device), index.to(model.device)
            out[here], ious[here] = decoded.logits, _predicted_iou(decoded)
            if distance < reach:  # nobody asks for the memory of the last slice
                memory = remember(model, image.tokens, decoded.logits, decoded.presence, binary=False)
                tracked = followed_by(model, tracked, Memory(memory, decoded.pointer), total)
        return out, ious


def _resized(logits: Tensor, height: int, width: int) -> Tensor:
    """[S,4h,4w] -> [S,H,W]."""
    if len(logits) == 0:
        return logits.new_zeros(0, height, width)
    return F.interpolate(logits[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def _predicted_iou(decoded: Decoded) -> Tensor:
    """float32 [N], NaN where the object is judged absent."""
    return torch.where(decoded.presence > 0, decoded.iou.float(), torch.nan)


def _within(index: Tensor, total: int) -> Tensor:
    return (index >= 0) & (index < total)

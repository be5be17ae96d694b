"""How well a propagator follows objects through whole held-out volumes, beside two trivial ways to fill them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from torch import Tensor

from ..propagation import SlicePropagator
from ..targets import components_to_boxes
from .clips import LabelledVolumes, jittered
from .random_shapes import render

_MIN_PIXELS = 40  # smallest key slice, so that a box says something
_MAX_SHARE = 0.35
_MIN_SLICES = 3


class ObjectCase(NamedTuple):
    """One object of a volume: true `mask` bool [S,H,W], the `key_index` of its largest slice, `boxes` [N,4] on it."""

    mask: Tensor
    key_index: int
    boxes: Tensor


class VolumeObjects(NamedTuple):
    """`image` float32 [S,H,W] in 0..1 and the objects to follow in it."""

    image: Tensor
    objects: list[ObjectCase]


def evaluation_cases(pools: Sequence[LabelledVolumes], objects: int, seed: int = 0) -> list[VolumeObjects]:
    """Every volume of the pools with up to `objects` random objects, boxes moved by up to 5%."""
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for pool in pools:
        for number, labels in enumerate(pool.labels):
            image = render(labels[None], generator)[0] if pool.images is None else pool.images[number].float() / 255
            found = _objects(labels, pool.first_label, objects, generator)
            if found:
                cases.append(VolumeObjects(image, found))
    return cases


class PropagatorEvaluator(SupervisedEvaluator):
    """Follows every object of every case with `SlicePropagator`, forward and in reverse.

    The output is a list with a dictionary for each object, for MONAI's metrics: `pred` and `label` [1,S,H,W] over the
    whole volume (what is found past the object's ends counts against it), `key_pred` and `key_label` [1,H,W] on the
    key slice; as baselines `ellipse` and `copy` [1,S,H,W]: the ellipse inscribed in the boxes, and the true key mask,
    on the slices of the true extent.

    Args:
        device, val_handlers: as for `SupervisedEvaluator`.
        val_data_loader: see `evaluation_cases`.
        network: a `Sam2VideoModel`.
        key_val_metric, additional_metrics: as for `SupervisedEvaluator`.
        window: slices walked to each side; None: to both ends.
        zoom_margin: as for `SlicePropagator`.

    Raises:
        ValueError: there are no cases.
    """

    def __init__(
        self,
        *,
        device: str | torch.device,
        val_data_loader: Sequence[VolumeObjects],
        network: torch.nn.Module,
        key_val_metric: dict | None = None,
        additional_metrics: dict | None = None,
        val_handlers: Sequence | None = None,
        window: int | None = None,
        zoom_margin: float | None = None,
    ) -> None:
        if not val_data_loader:
            raise ValueError(
                "there is no object to follow: none of the validation volumes has one that covers "
                f"{_MIN_PIXELS} pixels or more, and at most {_MAX_SHARE:.0%}, of its largest slice and that lies on "
                f"{_MIN_SLICES} slices or more; give others (config key `validate#cases#pools`)"
            )
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            epoch_length=len(val_data_loader),
            network=network,
            key_val_metric=key_val_metric,
            additional_metrics=additional_metrics,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.window, self.zoom_margin = window, zoom_margin

    def _iteration(self, engine: PropagatorEvaluator, batchdata: VolumeObjects) -> list[dict[str, Any]]:
        propagator = SlicePropagator(engine.network.eval(), zoom_margin=engine.zoom_margin)
        features = propagator.encode(batchdata.image)
        outputs = []
        for case in batchdata.objects:
            mask = propagator.mask(features, case.key_index, case.boxes, engine.window).cpu()
            key, extent = case.key_index, case.mask.flatten(1).any(1)[:, None, None]
            outputs.append(
                {
                    "pred": mask[None],
                    "label": case.mask[None],
                    "key_pred": mask[None, key],
                    "key_label": case.mask[None, key],
                    "ellipse": (inscribed_ellipses(case.boxes, *mask.shape[1:]) & extent)[None],
                    "copy": (case.mask[key] & extent)[None],
                }
            )
        return outputs


def inscribed_ellipses(boxes: Tensor, height: int, width: int) -> Tensor:
    """Union of the ellipses inscribed in boxes [N,4] (xyxy pixel edges), bool [H,W]."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x1, y1, x2, y2 = (edge[:, None, None] for edge in boxes.unbind(1))
    distance = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2
    return (distance <= 1).any(0)


def _objects(labels: Tensor, first_label: int, most: int, generator: torch.Generator) -> list[ObjectCase]:
    found = []
    names = labels.unique()
    names = names[names >= first_label]
    for name in names[torch.randperm(len(names), generator=generator)]:
        mask = labels == name
        area = mask.sum((1, 2))
        key = int(area.argmax())
        if area[key] < _MIN_PIXELS or area[key] > _MAX_SHARE * mask[0].numel() or (area > 0).sum() < _MIN_SLICES:
            continue
        boxes = torch.tensor(np.array(components_to_boxes(mask[key].numpy())), dtype=torch.float32)
        found.append(ObjectCase(mask, key, jittered(boxes, 0.05, generator, pixels=0.0)))
        if len(found) == most:
            break
    return found

"""How well a predicted mask fits the true one: DSC, IoU, surface Dice (NSD) and HD95.

DSC and IoU are MONAI's. NSD and HD95 are counted here from MONAI's surfaces and their distances: its two metrics would
compute these twice, and its percentile in single precision is off by up to 1e-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance

from ..metrics import dice, iou
from ..volume.cropped_mask import foreground_window


class VolumeScores(NamedTuple):
    """Scores of one mask.

    Args:
        DSC: Dice similarity coefficient, 0..1.
        IoU: intersection over union, 0..1.
        NSD: surface Dice: the share of both surfaces that lies within the tolerance of the other one, 0..1.
        HD95_mm: the larger of the two 95th percentiles of the distances from one surface to the other; None where a
            mask is empty, because an empty mask has no surface.
    """

    DSC: float
    IoU: float
    NSD: float
    HD95_mm: float | None


def volume_scores(
    pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> VolumeScores:
    """Scores of two masks on one grid.

    Both empty: DSC, IoU and NSD are 1; one empty: they are 0; HD95 is undefined (None) in both cases. A surface
    consists of the mask's voxels with a face neighbor outside; voxels at the volume's border count as surface.

    Args:
        pred: bool, rank 3.
        truth: bool, same shape.
        spacing_mm: voxel edge along each axis, see `voxel_spacing`.
        tolerance_mm: of NSD, at least 0.

    Raises:
        ValueError: shapes differ or are not of rank 3, a spacing that is not positive, or a negative tolerance.
    """
    _check(pred, truth, spacing_mm, tolerance_mm)
    window = foreground_window(pred | truth)
    pred, truth = pred[window], truth[window]
    overlap = dice(pred, truth), iou(pred, truth)
    if not pred.any() or not truth.any():
        return VolumeScores(*overlap, float(not pred.any() and not truth.any()), None)
    tensors = (torch.from_numpy(np.ascontiguousarray(mask)) for mask in (pred, truth))
    _, distances, _ = get_edge_surface_distance(*tensors, spacing=[float(e) for e in spacing_mm], symmetric=True)
    distances_mm = [distance.double().numpy() for distance in distances]
    near = sum(np.count_nonzero(distance <= tolerance_mm) for distance in distances_mm)
    hd95 = max(float(np.percentile(distance, 95)) for distance in distances_mm)
    return VolumeScores(*overlap, near / sum(map(len, distances_mm)), hd95)


def voxel_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Edges of a voxel in mm along each array axis, from an affine [4,4] (voxel index to mm)."""
    x, y, z = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def _check(pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float) -> None:
    if pred.shape != truth.shape or pred.ndim != 3:
        raise ValueError(f"masks have the shapes {pred.shape} and {truth.shape}; two of one shape, rank 3, are legal.")
    if len(spacing_mm) != 3 or not all(np.isfinite(edge) and edge > 0 for edge in spacing_mm):
        raise ValueError(f"spacing_mm is {list(spacing_mm)}; give three positive edges (correct the volume's header).")
    if not np.isfinite(tolerance_mm) or tolerance_mm < 0:
        raise ValueError(f"tolerance_mm is {tolerance_mm}; give 0 or more (config key `tolerance_mm`).")

"""What is measured of one answered query: a row of `per_query.csv`. Definitions: bundle/docs/evaluation.md.

A failed answer (the volume cannot be read, the completion does not parse, an error) scores like an empty mask without
a key slice, so it can only lower a mean; it is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from ..anchor import boxes_1000_to_px
from ..datasets.volume_cases import Target
from ..metrics import axial_visibility, dice, iou, matched_box_iou
from ..targets import components_to_boxes
from ..umrg.marks import listed_marks
from ..umrg.measures import box_iou, point_dice
from ..volume.cropped_mask import CroppedMask, common_crops
from ..volume.geometry import SliceGeometry, restore_mask
from .columns import COLUMNS, DESCRIPTION
from .volume_metrics import VolumeScores, volume_scores, voxel_spacing

GRIDS = ("source", "shown")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one query.

    Args:
        evidence: see `inferer.EvidenceInferer`; None where there is a failure.
        failure: `{"case", "reason", "message"}` of an error, or None.
        mask: bool [S, H, W], None where there is a failure.
        bounds: the masks of the bounds, bool [S, H, W] each.
        seconds: that both models took for the volume, divided by the number of its queries.
        agreement_map: see `self_consistency.Decision`.
    """

    evidence: Mapping[str, Any] | None
    failure: Mapping[str, str] | None
    mask: np.ndarray | None = None
    bounds: Mapping[str, np.ndarray] = field(default_factory=dict)
    seconds: float | None = None
    agreement_map: np.ndarray | None = None


class VolumeScorer:
    """Scores what came of the queries about one volume; equal masks are restored and measured once.

    Args:
        geometry: of the volume; None where it could not be prepared.
        shown_affine: [4, 4] of the shown slices [S, H, W], None as well.
        grid: "source", or "shown" for the slices as the models saw them (the paper's).
        tolerance_mm: of NSD.
    """

    def __init__(
        self, geometry: SliceGeometry | None, shown_affine: np.ndarray | None, grid: str, tolerance_mm: float
    ) -> None:
        if grid not in GRIDS:
            raise ValueError(f"metric_grid is {grid!r}; legal are {', '.join(GRIDS)}.")
        # None only where all answers are failures, which need neither.
        self.geometry: Any = geometry
        self.shown_affine: Any = shown_affine
        self.grid, self.tolerance_mm = grid, tolerance_mm
        self._on_grid: dict[bytes, CroppedMask] = {}
        # With the masks themselves: an id names an object only as long as it lives.
        self._scores: dict[tuple[int, int], tuple[CroppedMask, CroppedMask, VolumeScores]] = {}

    def row(
        self,
        entry: Mapping[str, Any],
        target: Target | Mapping[str, str] | None,
        outcome: Outcome,
        bounds: Sequence[str],
    ) -> dict[str, Any]:
        """One row with the keys `COLUMNS`.

        Args:
            entry: of the datalist.
            target: None where it has no label, or the failure to read it.
            outcome: of the query.
            bounds: names of the bounds that are wanted.
        """
        evidence = outcome.evidence or {}
        broken = outcome.failure or (target if isinstance(target, Mapping) else None)
        key_index = evidence.get("key_index")
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {key: entry.get(key) for key in ("case", "patient", "subset", *DESCRIPTION, "query", "image")}
        row |= {"status": broken["reason"] if broken else evidence["status"], "error": broken is not None}
        row |= {"format_ok": key_index is not None, "key_slice": None if key_index is None else key_index + 1}
        row |= {"agreement": evidence.get("agreement"), "seconds": outcome.seconds}
        if self.geometry is not None:
            row["slice_thickness_mm"] = self._slice_thickness()
        if target is None:
            return row
        if outcome.mask is None or not isinstance(target, Target):
            return row | self._failed(entry, target, bounds)
        row |= self.measured(self._mask(outcome.mask), target)
        if row["present"]:
            row |= self._grounding(_shown(target), evidence) | _marked(entry, evidence)
            if target.opposite is not None:
                row |= self.swapped(self._restored(outcome.mask), target)
            for bound in bounds:
                pair = common_crops(self._mask(outcome.bounds[bound]), self._truth(target))
                row |= {f"{bound}_DSC": dice(*pair), f"{bound}_IoU": iou(*pair)}
        return row

    def measured(self, pred: CroppedMask, target: Target) -> dict[str, Any]:
        """DSC to volumes of a mask on the metrics' grid; equal masks are to be one object."""
        truth = self._truth(target)
        known = id(pred), id(truth)
        pair = common_crops(pred, truth)
        affine = self._affine()
        if known not in self._scores:
            self._scores[known] = pred, truth, volume_scores(*pair, voxel_spacing(affine), self.tolerance_mm)
        voxels = {
            "true_ml": truth.voxels,
            "pred_ml": pred.voxels,
            "shared_ml": int(np.count_nonzero(pair[0] & pair[1])),
        }
        volumes = {name: _millilitres(count, affine) for name, count in voxels.items()}
        present = truth.voxels > 0
        return {"present": present} | volumes | (self._scores[known][-1]._asdict() if present else {})

    def swapped(self, pred: CroppedMask, target: Target) -> dict[str, Any]:
        """Whether more of a mask lies in the counterpart than in the target, on the source grid."""
        if target.opposite is None or not target.opposite.voxels:
            return {}
        shared = [
            int(np.count_nonzero(np.logical_and(*common_crops(pred, truth))))
            for truth in (target.opposite, target.source)
        ]
        return {"swapped": shared[0] > shared[1]}

    def _failed(self, entry: Mapping[str, Any], target: Any, bounds: Sequence[str]) -> dict[str, Any]:
        """Zeros; what the label would have said is taken from the entry where the label cannot be read."""
        readable = isinstance(target, Target)
        present = target.source.voxels > 0 if readable else entry.get("type") != "H"
        row: dict[str, Any] = {"present": present}
        if readable:
            row["true_ml"] = _millilitres(target.source.voxels, target.affine)
            row |= {"pred_ml": 0.0, "shared_ml": 0.0}
        if not present:
            return row
        row |= {"DSC": 0.0, "IoU": 0.0, "NSD": 0.0, "key_holds_target": False, "R_a": 0.0, "box_iou": 0.0}
        row |= _marked(entry, {})
        if readable and target.opposite is not None and target.opposite.voxels:
            row["swapped"] = False
        return row | {f"{bound}_{score}": 0.0 for bound in bounds for score in ("DSC", "IoU")}

    def _grounding(self, shown: np.ndarray, evidence: Mapping[str, Any]) -> dict[str, Any]:
        """R_a and its kin of a present target [S, H, W]; its mask may still lie between the shown slices."""
        key_index, boxes = evidence["key_index"], evidence["boxes_1000"]
        if key_index is None or not (boxes or evidence.get("points_1000")):
            return {"key_holds_target": False, "R_a": 0.0, "box_iou": 0.0}
        area = np.count_nonzero(shown, axis=(1, 2))
        best = np.flatnonzero(area == area.max())
        steps = np.abs(self.geometry.source_index[best] - self.geometry.source_index[key_index]).min()
        return {
            "key_holds_target": bool(area[key_index]),
            "key_offset_mm": float(steps) * self._slice_thickness() if area.any() else None,
            "R_a": axial_visibility(shown, key_index),
            "box_iou": matched_box_iou(
                boxes_1000_to_px(boxes, *shown.shape[1:]), components_to_boxes(shown[key_index])
            ),
        }

    def _mask(self, mask: np.ndarray) -> CroppedMask:
        """A mask [S, H, W] on the metrics' grid; equal masks give the same object."""
        if self.grid == "source":
            return self._restored(mask)
        return self._known(b"shown" + _fingerprint(mask), lambda: CroppedMask.of(mask))

    def _restored(self, mask: np.ndarray) -> CroppedMask:
        return self._known(_fingerprint(mask), lambda: CroppedMask.of(restore_mask(mask, self.geometry)))

    def _truth(self, target: Target) -> CroppedMask:
        if self.grid == "source":
            return target.source
        return self._known(b"shown" + _fingerprint(_shown(target)), lambda: CroppedMask.of(_shown(target)))

    def _known(self, key: bytes, make: Any) -> CroppedMask:
        if key not in self._on_grid:
            self._on_grid[key] = make()
        return self._on_grid[key]

    def _affine(self) -> np.ndarray:
        return self.geometry.source_affine if self.grid == "source" else self.shown_affine

    def _slice_thickness(self) -> float:
        """Distance of neighboring source slices in mm, along the axis nearest to the body's."""
        return voxel_spacing(self.geometry.source_affine)[self.geometry.source_axial_axis]


def _marked(entry: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, float]:
    """Box IoU and pDice against the `marks` of an entry, none without them; 0 for what an answer does not mark."""
    if "marks" not in entry:
        return {}
    true = listed_marks(entry["marks"])
    boxes, points = evidence.get("boxes_1000") or [], evidence.get("points_1000") or []
    has_box, has_pair = len(boxes) == 1, [len(of_object) for of_object in points] == [2]
    return {
        "marks_iou": box_iou(true._replace(box=np.array(boxes[0], dtype=float)), true) if has_box else 0.0,
        "point_dice": point_dice(true._replace(points=np.array(points[0], dtype=float)), true) if has_pair else 0.0,
    }


def _shown(target: Target) -> np.ndarray:
    """Its mask on the shown slices: only a volume that could be prepared has answers to score."""
    return cast(np.ndarray, target.shown)


def _fingerprint(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()


def _millilitres(voxels: int, affine: np.ndarray) -> float:
    return voxels * abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000

"""What a run leaves behind for each case: the mask, the evidence as JSON, the picture, and a line in a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.transforms import MapTransform
from tqdm import tqdm

from ..errors import failure_of
from ..metrics import dice, iou
from ..targets import target_mask
from ..volume.geometry import SliceGeometry, restore_map, source_slice
from .evidence_picture import draw_evidence, save_evidence

_logger = logging.getLogger(__name__)


class EvidenceRecordd(MapTransform):
    """Sets `data["result"]` to the evidence of a restored mask, as plain JSON types.

    MONAI Label returns `result` to its client; `CaseWriter` writes it as `<case>_evidence.json`. Its keys: `image`,
    `query`, `status` ("ok", "absent", "abstained", or why the completion does not parse), `completion`, `think`,
    `key_slice` (1-based, as shown), `source_slice` (0-based along the source's axial axis), `boxes_1000`, `boxes_px`
    (of the shown slices), `slices_shown`, `agreement` and `answers` (of several answers, see `self_consistency`; null
    for one), `voxels`, `volume_ml`, `seconds`, `weights`.

    Args:
        keys: of the mask, uint8 [1, X, Y, Z], with the inferer's evidence in its meta data.
        ref_key: of the preprocessed image.
        weights: names of the weights that were used, for the record.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        ref_key: str = "image",
        weights: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(keys)
        self.ref_key = ref_key
        self.weights = dict(weights or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        recorded = dict(data)
        for key in self.key_iterator(recorded):
            recorded["result"] = self._record(recorded[key], recorded[self.ref_key].meta)
        return recorded

    def _record(self, mask: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
        geometry = SliceGeometry.from_meta(meta)
        evidence = json.loads(mask.meta["evidence"])
        key_index = evidence["key_index"]
        voxels = int(np.count_nonzero(mask.cpu().numpy()))
        voxel_mm3 = abs(float(np.linalg.det(geometry.source_affine[:3, :3])))
        return {
            "image": str(meta.get("filename_or_obj", "")),
            "query": meta["query"],
            "status": evidence["status"],
            "completion": evidence["completion"],
            "think": evidence["think"],
            "key_slice": None if key_index is None else key_index + 1,
            "source_slice": None if key_index is None else source_slice(geometry, key_index),
            "boxes_1000": evidence["boxes_1000"],
            "boxes_px": evidence["boxes_px"],
            "slices_shown": len(geometry.source_index),
            "agreement": evidence.get("agreement"),
            "answers": evidence.get("answers"),
            "voxels": voxels,
            "volume_ml": round(voxels * voxel_mm3 / 1000, 3),
            "seconds": evidence["seconds"],
            "weights": self.weights,
        }


def save_mask(mask: np.ndarray, source_path: str | Path, path: str | Path) -> None:
    """Writes a mask on the grid of the volume it belongs to.

    Args:
        mask: uint8 [X, Y, Z].
        source_path: the volume; its sform, qform and spacing are taken over as they stand in its header.
        path: to write, `.nii.gz`.
    """
    _save(np.ascontiguousarray(mask, dtype=np.uint8), source_path, path, "MedVol-R1 mask")


def save_agreement(values: np.ndarray, geometry: SliceGeometry, source_path: str | Path, path: str | Path) -> None:
    """Writes a map of agreement (`self_consistency.Decision`) on the grid of the volume, as `save_mask` does.

    Args:
        values: float32 [S, H, W] of the shown slices, in 0..1.
        geometry: of the volume.
        source_path: the volume.
        path: to write, `.nii.gz`, float32.
    """
    _save(np.ascontiguousarray(restore_map(values, geometry)), source_path, path, "MedVol-R1 agreement")


def _save(voxels: np.ndarray, source_path: str | Path, path: str | Path, description: str) -> None:
    """Voxels [X, Y, Z] of values in 0..1, in their own type, under the header of the volume."""
    header = nib.Nifti1Header.from_header(nib.load(source_path).header)
    header.extensions.clear()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    header["descrip"] = description.encode()
    nib.save(nib.Nifti1Image(voxels, None, header), path)


class CaseWriter:
    """An Ignite handler that writes each case and prints its scores.

    The files are `<case>_mask.nii.gz`, `<case>_evidence.json` and `<case>_evidence.png` in `<output_dir>/<case>`, and
    `<case>_agreement.nii.gz` where the mask's meta data holds an `agreement_map`.

    Args:
        output_dir: made when absent.
        window: lower and upper HU of the picture.
        picture: whether to draw one.
    """

    def __init__(self, output_dir: str | Path, window: Sequence[float] = (-160.0, 240.0), picture: bool = True) -> None:
        self.output_dir = Path(output_dir)
        self.window = (float(window[0]), float(window[1]))
        self.picture = picture
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, str]] = []

    def attach(self, engine: Engine) -> None:
        """Writes after each iteration of an `EvidenceEvaluator`, prints the table at the end."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.print_table)

    def write(self, engine: Engine) -> None:
        """Writes the cases of `engine.state.output`, and takes note of `engine.state.failures`."""
        for failure in engine.state.failures:
            self._note(failure)
        for item in engine.state.output:
            try:
                self.rows.append(self._write_case(item))
            except Exception as error:  # a full disk, say; the other cases are still to be done
                _logger.exception("case %s cannot be written", item["case"])
                self._note(failure_of(error, item["case"]))

    def print_table(self, engine: Engine) -> None:
        """All cases with their status and scores, then the failed ones with their reasons."""
        width = max([4, *(len(row["case"]) for row in [*self.rows, *self.failures])])
        lines = [f"{'case':{width}}  {'status':22}  {'volume/ml':>9}  {'DSC':>6}  {'IoU':>6}"]
        for row in self.rows:
            scores = [f"{row['scores'][name]:6.3f}" if row["scores"] else f"{'-':>6}" for name in ("DSC", "IoU")]
            lines.append(f"{row['case']:{width}}  {row['status']:22}  {row['volume_ml']:9.1f}  {'  '.join(scores)}")
        lines += [f"{failure['case']:{width}}  FAILED: {failure['reason']}" for failure in self.failures]
        lines += [f"  {failure['case']}: {failure['message']}" for failure in self.failures]
        tqdm.write("\n".join(["", *lines, f"written to {self.output_dir}"]))

    def exit_if_failed(self) -> None:
        """Ends the program with a non-zero status when a case could not be processed; the others are written.

        Raises:
            SystemExit: with a message that names the failed cases.
        """
        if self.failures:
            named = ", ".join(f"{failure['case']} ({failure['reason']})" for failure in self.failures)
            total = len(self.failures) + len(self.rows)
            raise SystemExit(f"{len(self.failures)} of {total} cases could not be processed: {named}")

    def _note(self, failure: dict[str, str]) -> None:
        self.failures.append(failure)
        tqdm.write(f"{failure['case']}: FAILED, {failure['reason']}: {failure['message']}")

    def _write_case(self, item: Mapping[str, Any]) -> dict[str, Any]:
        case, record = item["case"], item["result"]
        mask = item["pred"][0].cpu().numpy()
        label = item.get("label")
        truth = None if label is None else target_mask(label[0].cpu().numpy(), item.get("label_values"))
        scores = {} if truth is None else {"DSC": dice(mask > 0, truth), "IoU": iou(mask > 0, truth)}
        folder = self.output_dir / case
        folder.mkdir(parents=True, exist_ok=True)
        save_mask(mask, record["image"], folder / f"{case}_mask.nii.gz")
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (folder / f"{case}_evidence.json").write_text(text + "\n", encoding="utf-8")
        geometry = SliceGeometry.from_meta(item["image"].meta)
        agreement_map = getattr(item["pred"], "meta", {}).get("agreement_map")
        if agreement_map is not None:
            save_agreement(agreement_map, geometry, record["image"], folder / f"{case}_agreement.nii.gz")
        if self.picture:
            image = cast(nib.Nifti1Image, nib.load(record["image"]))
            volume_hu = image.get_fdata(dtype=np.float32).reshape(geometry.source_shape)
            figure = draw_evidence(volume_hu, mask, geometry, record, window_hu=self.window, truth=truth, scores=scores)
            save_evidence(figure, folder / f"{case}_evidence.png")
        measured = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        tqdm.write(f"{case}: {_summary(record)}{', ' + measured if measured else ''} -> {folder}")
        return {"case": case, "status": record["status"], "volume_ml": record["volume_ml"], "scores": scores}


def _summary(record: Mapping[str, Any]) -> str:
    if record["key_slice"] is None:
        return f"{record['status']} (the completion does not parse; the mask is empty)"
    boxes = len(record["boxes_1000"])
    agreed = "" if record["agreement"] is None else f", agreement {record['agreement']:.2f}"
    return (
        f"{record['status']}{agreed}, key slice {record['key_slice']} of {record['slices_shown']}, "
        f"{boxes} box{'' if boxes == 1 else 'es'}, {record['volume_ml']:.1f} ml"
    )

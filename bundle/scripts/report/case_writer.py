"""What a run leaves behind: the files of each case, and a table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from ..errors import failure_of
from ..metrics import dice, iou
from ..targets import target_mask
from ..volume.geometry import SliceGeometry
from .case_files import FORMATS, AnsweredCase, remove_case, write_case
from .case_table import case_table
from .evidence_record import marks_in_words
from .status_words import in_words

_logger = logging.getLogger(__name__)


class CaseWriter:
    """An Ignite handler that writes each case and prints its scores.

    The files are `<case>_mask.nii.gz`, `<case>_evidence.json` and `<case>_evidence.png` in `<output_dir>/<case>`,
    `<case>_agreement.nii.gz` where the mask's meta data holds an `agreement_map`, and `<case>_seg.dcm` where that is
    wanted and the volume is DICOM (see `case_files`). Those that an earlier run left of a case are removed, of a case
    that fails as well.

    Args:
        output_dir: made when absent.
        window: lower and upper HU of the picture of a CT; others have theirs in their meta data, `window_limits`.
        picture: whether to draw one.
        save_dicom_seg: whether to write the mask of a DICOM series as DICOM SEG as well.

    `rows` says of each answered case, as plain JSON types, its `case`, `image`, `query`, `status`, `status_text` (in
    words), `key_slice`, `boxes_1000`, `volume_ml`, `scores` (`DSC` and `IoU` where there is a label) and `files` (paths
    by their endings); `failures` of each other one its `case`, `reason` and `message`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        window: Sequence[float] = (-160.0, 240.0),
        picture: bool = True,
        save_dicom_seg: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.window = (float(window[0]), float(window[1]))
        self.picture = picture
        self.save_dicom_seg = save_dicom_seg
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, str]] = []

    def attach(self, engine: Engine) -> None:
        """Writes after each iteration of an `EvidenceEvaluator`, prints the table at the end."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.print_table)

    def write(self, engine: Engine) -> None:
        """Writes the cases of `engine.state.output`, and notes `engine.state.failures`."""
        for failure in engine.state.failures:
            remove_case(failure["case"], self.output_dir / failure["case"])
            self._note(failure)
        for item in engine.state.output:
            try:
                self.rows.append(self._write_case(item))
            except Exception as error:  # a full disk, say; the other cases are still to be done
                _logger.exception("case %s cannot be written", item["case"])
                self._note(failure_of(error, item["case"]))

    def print_table(self, engine: Engine) -> None:
        """All cases with their status and scores, then the failed ones with their reasons."""
        tqdm.write(case_table(self.rows, self.failures, self.output_dir))

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
        agreement_map = getattr(item["pred"], "meta", {}).get("agreement_map")
        answered = AnsweredCase(
            name=case,
            record=record,
            mask=mask,
            geometry=SliceGeometry.from_meta(item["image"].meta),
            agreement_map=agreement_map,
            truth=truth,
            scores=scores,
            window=tuple(item["image"].meta.get("window_limits", self.window)),
            target=item.get("target"),
        )
        if self.save_dicom_seg and answered.series is None:
            _logger.warning("case %s is no DICOM series, so there is no DICOM SEG of it (`save_dicom_seg`)", case)
        wanted = {
            "evidence.png": self.picture,
            "agreement.nii.gz": agreement_map is not None,
            "mask.png": answered.is_picture,
            "seg.dcm": self.save_dicom_seg and answered.series is not None,
        }
        files = write_case(answered, folder, [ending for ending in FORMATS if wanted.get(ending, True)])
        measured = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        tqdm.write(f"{case}: {_summary(record)}{', ' + measured if measured else ''} -> {folder}")
        return {
            "case": case,
            **{key: record[key] for key in ("image", "query", "status")},
            "status_text": in_words(record["status"]),
            **{key: record[key] for key in ("key_slice", "boxes_1000", "volume_ml")},
            "scores": scores,
            "files": {ending: str(path.absolute()) for ending, path in files.items()},
        }


def _summary(record: Mapping[str, Any]) -> str:
    if record["key_slice"] is None:
        return f"{record['status']} (the completion does not parse; the mask is empty)"
    size = f"{record['voxels']} pixels" if record["volume_ml"] is None else f"{record['volume_ml']:.1f} ml"
    agreed = "" if record["agreement"] is None else f", agreement {record['agreement']:.2f}"
    return (
        f"{record['status']}{agreed}, key slice {record['key_slice']} of {record['slices_shown']}, "
        f"{marks_in_words(record)}, {size}"
    )

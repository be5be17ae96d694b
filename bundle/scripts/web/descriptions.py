"""Studies, requests and the server itself, as the API tells of them."""

from __future__ import annotations

from typing import Any

from ..report.dicom_seg import NAME, VERSION
from ..report.status_words import in_words
from ..service.display import displayed_mask
from ..service.export import exports
from ..service.request_queue import Request
from ..service.segmentation_service import SegmentationService
from ..service.study import LONGEST_NAME, MOST_MASKS, Study
from ..volume.query_text import MAX_CHARACTERS

WINDOWS = {"abdomen": (-160, 240), "lung": (-1350, 150), "bone": (-500, 1300), "brain": (0, 80)}
"""What radiologists look at a CT with, lower and upper HU."""


def about(service: SegmentationService) -> dict[str, Any]:
    """What the server is and allows."""
    windows: dict[str, tuple[float, float]] = {**WINDOWS}
    if service.models.window_hu not in windows.values():
        windows = {"model": service.models.window_hu, **windows}
    return {
        "name": NAME,
        "version": VERSION,
        "not_for_diagnosis": "For research only: not a medical device, not for diagnosis.",
        "models": service.models.names,
        "windows": [{"name": name, "low": low, "high": high} for name, (low, high) in windows.items()],
        "limits": {
            "query_characters": MAX_CHARACTERS,
            "name_characters": LONGEST_NAME,
            "masks": MOST_MASKS,
            "studies": service.most_studies,
            "uploads": service.uploads.most_count,
            "upload_bytes": service.uploads.most_bytes,
            "volume_bytes": service.most_volume_bytes,
            "requests": service.queue.most_waiting,
            "memory_bytes": service.memory.most_bytes,
        },
    }


def described_study(study: Study) -> dict[str, Any]:
    """A study with its masks and its history."""
    return {
        "id": study.id,
        "name": study.name,
        "shape": list(study.geometry.lps_shape),
        "spacing_mm": list(study.spacing_mm),
        "window": dict(zip(("low", "high"), study.window, strict=True)),
        "shown": {"slices": study.geometry.source_index.tolist(), "crop": list(study.geometry.shown_xyxy_px)},
        "exports": exports(study),
        "masks": [displayed_mask(mask, study.geometry) for mask in study.masks()],
        "history": [{**entry, "status_text": in_words(entry["status"])} for entry in study.history()],
    }


def described_request(service: SegmentationService, request: Request) -> dict[str, Any]:
    """How far a request is."""
    progress = request.progress
    return {
        "state": request.state,
        "ahead": service.queue.ahead(request),
        "stage": progress.stage if request.state == "running" else None,
        "written": progress.written,
        "slices": list(progress.slices),
        "mask": request.mask,
        "error": None
        if request.error is None
        else {**request.error, "message": service.told(request.error["message"])},
    }

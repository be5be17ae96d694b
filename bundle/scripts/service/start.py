"""A service, put together from configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .memory import Memory
from .models import Models
from .request_queue import RequestQueue
from .segmentation_service import SegmentationService
from .studies_folder import StudiesFolder
from .uploads import Uploads


def started_service(
    configs: Sequence[str | Path],
    bundle_root: str | Path,
    studies: str | Path | None = None,
    memory_bytes: int = 2**32,
    settings: Mapping[str, Any] | None = None,
) -> SegmentationService:
    """A service whose weights are read.

    Args:
        configs: `inference.json`, then overlays.
        bundle_root: the bundle's folder.
        studies: the folder whose studies may be opened; None: none.
        memory_bytes: for what is kept of studies in use.
        settings: top-level keys, over the configs.

    Raises:
        ValueError: configs, weights or a folder that cannot be used.
    """
    folder = StudiesFolder(studies)
    memory = Memory(memory_bytes)
    models = Models(configs, bundle_root, memory, settings)
    models.load()
    return SegmentationService(models, memory, folder, Uploads(), RequestQueue())

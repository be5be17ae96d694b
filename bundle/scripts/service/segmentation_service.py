"""Open, ask, correct, undo, export: what every interface calls."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation

from ..volume.geometry import SliceGeometry
from ..volume.io import read_volume
from ..volume.query_text import check_query
from ..volume.windows import CT
from .display import given_answer
from .export import export
from .failures import ServiceError
from .memory import Memory
from .models import Models
from .progress import Progress
from .request_queue import Request, RequestQueue
from .size_check import check_size
from .studies_folder import StudiesFolder
from .study import Revision, Study, checked_name
from .uploads import Uploads

SHOWN, VOXELS = "shown slices", "voxels"
# A study that nobody looked at for so long makes room for another one.
_IDLE_S = 1800.0


class SegmentationService:
    """Studies of several owners on one pair of models.

    Owners do not see each other's studies. Who opens the same volume shares what was computed of it, not masks or
    history. Safe to use from several threads; one thread computes with the models.

    Args:
        models: answer.
        memory: keeps what is computed; the one that `models` has.
        folder: whose studies may be opened.
        uploads: of users.
        queue: of requests.
        most_studies: that are open at a time, those of all owners together.
        most_volume_bytes: that the voxels of a study may take as float32.
    """

    def __init__(
        self,
        models: Models,
        memory: Memory,
        folder: StudiesFolder,
        uploads: Uploads,
        queue: RequestQueue,
        most_studies: int = 64,
        most_volume_bytes: int = 2**31,
    ) -> None:
        self.models, self.memory, self.folder, self.uploads, self.queue = models, memory, folder, uploads, queue
        self.most_studies, self.most_volume_bytes = most_studies, most_volume_bytes
        self._studies: dict[str, Study] = {}
        self._used_at: dict[str, float] = {}
        self._lock = Lock()
        self._reading = Lock()  # whole volumes and pictures of them: one at a time bounds their memory

    # Studies ------------------------------------------------------------------------------------------------------

    def open(self, owner: str, path: str) -> Study:
        """Opens a study of the folder.

        Args:
            owner: whose it will be.
            path: see `StudiesFolder.path_of`.

        Raises:
            ServiceError: see SERVICE_FAILURES.
            RuntimeError: MONAI's, around a VolumeError.
        """
        found = self.folder.path_of(path)
        return self._open(owner, found, found.name)

    def open_upload(self, owner: str, file: BinaryIO, name: str) -> Study:
        """Opens a study that a user sends, see `Uploads.take`. Raises as `open`."""
        kept = self.uploads.take(file, name)
        try:
            return self._open(owner, kept, os.path.basename(name)[-100:])
        except BaseException:
            self.uploads.remove(kept)
            raise

    def close(self, owner: str, study_id: str) -> None:
        """Closes a study: its masks are gone, and what was computed of its volume if nobody else has it open.

        Raises:
            ServiceError: `unknown_study`.
        """
        self._forget(self.study(owner, study_id))

    def study(self, owner: str, study_id: str) -> Study:
        """A study of an owner.

        Raises:
            ServiceError: `unknown_study`.
        """
        with self._lock:
            study = self._studies.get(study_id)
            if study is None or study.owner != owner:
                raise ServiceError("unknown_study", f"there is no study {study_id[:100]!r}; it may have been closed.")
            self._used_at[study_id] = time.monotonic()
            return study

    def studies(self, owner: str) -> list[Study]:
        """All of an owner."""
        with self._lock:
            return [study for study in self._studies.values() if study.owner == owner]

    def voxels(self, study: Study) -> np.ndarray:
        """The volume as it is displayed, [X, Y, Z], LPS: int16 HU of a CT, else float32.

        Raises:
            VolumeError: the file has gone, or has changed.
        """
        return self.memory.get(study.volume, VOXELS, partial(self._read, study))

    def mask(self, study: Study, revision: Revision) -> np.ndarray:
        """An answer of a mask of the study, bool [X, Y, Z], LPS."""
        return self.memory.get((study.id, revision.number), "mask", revision.mask.full)

    # Answers ------------------------------------------------------------------------------------------------------

    def ask(self, owner: str, study_id: str, query: str, name: str | None = None) -> Request:
        """Puts a question into the queue.

        Args:
            owner: whose study it is.
            study_id: of it.
            query: verbatim.
            name: of the mask; one that exists gets a new answer. None: a new one, named by the query.

        Raises:
            ServiceError: `unknown_study`, `bad_name`, `too_many_masks` or `too_many_requests`.
            QueryError: no query.
        """
        study = self.study(owner, study_id)
        query = check_query(query)
        study.name_for(query, name)
        return self.queue.submit(owner, partial(self._answer, study, query, name, None))

    def correct(
        self,
        owner: str,
        study_id: str,
        name: str,
        key_slice: int,
        boxes_xyxy_px: Sequence[Sequence[float]],
        points_xy_px: Sequence[Sequence[Sequence[float]]] = (),
    ) -> Request:
        """Puts a person's evidence for a mask into the queue: it is propagated, the language model is not asked.

        Args:
            owner: whose study it is.
            study_id: of it.
            name: of the mask; one that is not there yet is made.
            key_slice: see `display.given_answer`.
            boxes_xyxy_px: see `display.given_answer`.
            points_xy_px: see `display.given_answer`.

        Raises:
            ServiceError: `unknown_study`, `bad_name`, `too_many_masks`, `key_slice_not_shown`, `bad_boxes`,
                `bad_points` or `too_many_requests`.
        """
        study = self.study(owner, study_id)
        completion = given_answer(key_slice, boxes_xyxy_px, study.geometry, points_xy_px)
        known = [mask for mask in study.masks() if mask.name == name]
        query = known[0].current.record["query"] if known else checked_name(name)
        study.name_for(query, name)
        return self.queue.submit(owner, partial(self._answer, study, query, name, completion))

    def export(self, study: Study, name: str, form: str, folder: Path) -> Path:
        """Writes a mask into a folder, see `export.export`."""
        mask = study.mask(name)
        with self._reading:
            return export(study, mask, form, folder)

    def told(self, message: str) -> str:
        """A message as users may read it: without the folders of the server."""
        message = re.sub(re.escape(f"{self.uploads.folder}{os.sep}") + rf"[^{os.sep}\s]+{os.sep}?", "", message)
        return message if self.folder.root is None else message.replace(f"{self.folder.root}{os.sep}", "")

    def shut_down(self) -> None:
        """Cancels what is computed, and removes what users have sent."""
        self.queue.close()
        self.uploads.close()

    # Inside -------------------------------------------------------------------------------------------------------

    def _open(self, owner: str, path: Path, name: str) -> Study:
        self._make_room()
        check_size(path, self.most_volume_bytes, self.uploads.most_files)
        told = path.stat()
        volume = str(path), str(told.st_mtime_ns), str(told.st_size)
        image = self._shown(volume, path)
        geometry = SliceGeometry.from_meta(image.meta)
        low, high = (float(limit) for limit in image.meta.get("window_limits", self.models.window_hu))
        study = Study(secrets.token_urlsafe(16), owner, name, path, volume, geometry, (low, high))
        with self._lock:
            self._studies[study.id] = study
            self._used_at[study.id] = time.monotonic()
        return study

    def _make_room(self) -> None:
        """Closes the study that was not used for longest, if there are as many as there may be."""
        with self._lock:
            if len(self._studies) < self.most_studies:
                return
            oldest = min(self._used_at, key=self._used_at.__getitem__)
            if time.monotonic() - self._used_at[oldest] < _IDLE_S:
                raise ServiceError(
                    "too_many_studies", f"{self.most_studies} studies are open and in use; close one, or wait."
                )
            study = self._studies[oldest]
        self._forget(study)

    def _forget(self, study: Study) -> None:
        with self._lock:
            self._studies.pop(study.id, None)
            self._used_at.pop(study.id, None)
            shared = any(other.volume == study.volume for other in self._studies.values())
        for mask in study.masks():
            for revision in mask.revisions:
                self.memory.forget((study.id, revision.number))
        if not shared:
            self.memory.forget(study.volume)
            self.uploads.remove(study.path)

    def _shown(self, volume: tuple[str, ...], path: Path) -> MetaTensor:
        return self.memory.get(volume, SHOWN, partial(self.models.prepare, path))

    def _read(self, study: Study) -> np.ndarray:
        with self._reading:
            voxels, _ = read_volume(study.path, intensity=self.models.intensity)
            if self.models.intensity == CT:
                np.clip(np.rint(voxels, out=voxels), -(2**15), 2**15 - 1, out=voxels)
                voxels = voxels.astype(np.int16)
            return apply_orientation(voxels, study.geometry.orientation)

    def _answer(self, study: Study, query: str, name: str | None, given: str | None, progress: Progress) -> str:
        """Computes an answer and gives it to the study; returns the name of its mask."""
        progress.check()
        image = self._shown(study.volume, study.path)
        answer = self.models.answer(study.volume, image, query, progress, given)
        progress.check()
        self.study(study.owner, study.id)  # it may have been closed
        name = study.name_for(query, name)
        mask = apply_orientation(answer.mask, study.geometry.orientation)
        study.add(name, "question" if given is None else "correction", answer.record, mask)
        return name

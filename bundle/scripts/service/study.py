"""A study that somebody has opened: its masks by name, each with the answers that it had before, and its history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..volume.geometry import SliceGeometry
from .failures import ServiceError
from .packed_mask import PackedMask

# Each clearly another one on grey, also to those who do not tell red from green.
# None is amber: boxes are.
COLORS = ("#2dd4bf", "#a78bfa", "#60a5fa", "#f472b6", "#a3e635", "#f87171", "#22d3ee", "#e2e8f0")
MOST_MASKS = 32
MOST_ANSWERS = 20
MOST_HISTORY = 500
LONGEST_NAME = 64


@dataclass(frozen=True, eq=False)
class Revision:
    """An answer that a mask had or has.

    Args:
        number: unlike that of all others of the study.
        record: see `evidence_record`.
        mask: bool [X, Y, Z], LPS.
    """

    number: int
    record: Mapping[str, Any]
    mask: PackedMask


@dataclass(eq=False)
class NamedMask:
    """A mask of a study, the last of its revisions.

    Args:
        name: of it.
        color: `#rrggbb`.
        revisions: from the oldest that is kept to the one that holds.
    """

    name: str
    color: str
    revisions: list[Revision] = field(default_factory=list)

    @property
    def current(self) -> Revision:
        """The one that holds."""
        return self.revisions[-1]


class Study:
    """A volume as one user sees it. Safe to use from several threads.

    Args:
        study_id: not to be guessed.
        owner: whose it is.
        name: of the volume, for people.
        path: of the volume.
        volume: its key in the memory; the same for all who have opened it.
        geometry: of the volume and its shown slices.
        window: the values of the volume that the models see black and white; HU of a CT.
    """

    def __init__(
        self,
        study_id: str,
        owner: str,
        name: str,
        path: Path,
        volume: tuple[str, ...],
        geometry: SliceGeometry,
        window: tuple[float, float] = (-160.0, 240.0),
    ) -> None:
        self.id, self.owner, self.name, self.path = study_id, owner, name, path
        self.volume, self.geometry, self.window = volume, geometry, window
        self._masks: dict[str, NamedMask] = {}
        self._history: list[dict[str, Any]] = []
        self._answers = 0
        self._colors = 0
        self._lock = RLock()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of the voxels along the LPS axes."""
        edges = np.linalg.norm(self.geometry.source_affine[:3, :3], axis=0)
        x, y, z = (float(edges[axis]) for axis in np.argsort(self.geometry.orientation[:, 0]))
        return x, y, z

    def masks(self) -> list[NamedMask]:
        """All of them, the oldest first."""
        with self._lock:
            return list(self._masks.values())

    def history(self) -> list[dict[str, Any]]:
        """What was done, the oldest first: `kind`, `mask`, `query`, `status`, `volume_ml`, `time` (ISO 8601)."""
        with self._lock:
            return list(self._history)

    def mask(self, name: str) -> NamedMask:
        """A mask by its name.

        Raises:
            ServiceError: `unknown_mask`.
        """
        with self._lock:
            if name not in self._masks:
                raise ServiceError("unknown_mask", f"the study has no mask {name[:LONGEST_NAME]!r}.")
            return self._masks[name]

    def name_for(self, query: str, wanted: str | None) -> str:
        """The name of the mask that a question makes, or makes anew.

        Args:
            query: that is asked.
            wanted: by the user; None: one is made of the query.

        Raises:
            ServiceError: `bad_name`, or `too_many_masks`.
        """
        with self._lock:
            name = self._free_name(query) if wanted is None else checked_name(wanted)
            if name not in self._masks and len(self._masks) >= MOST_MASKS:
                raise ServiceError("too_many_masks", f"the study has {MOST_MASKS} masks, the most it may; delete one.")
            return name

    def add(self, name: str, kind: str, record: Mapping[str, Any], mask: np.ndarray) -> None:
        """Gives a mask a new answer, and makes the mask if there is none of that name.

        Args:
            name: from `name_for`.
            kind: "question" or "correction".
            record: see `evidence_record`.
            mask: bool [X, Y, Z], LPS.
        """
        packed = PackedMask.of(mask)
        with self._lock:
            if name not in self._masks:
                self._masks[name] = NamedMask(name, COLORS[self._colors % len(COLORS)])
                self._colors += 1
            self._answers += 1
            revisions = self._masks[name].revisions
            revisions.append(Revision(self._answers, record, packed))
            del revisions[:-MOST_ANSWERS]
            self._note(kind, name)

    def undo(self, name: str) -> None:
        """Takes the last answer of a mask back.

        Raises:
            ServiceError: `unknown_mask`, or `nothing_to_undo`.
        """
        with self._lock:
            mask = self.mask(name)
            if len(mask.revisions) == 1:
                raise ServiceError("nothing_to_undo", f"the mask {name!r} has one answer; delete it instead.")
            mask.revisions.pop()
            self._note("undo", name)

    def rename(self, name: str, new_name: str) -> None:
        """Gives a mask another name.

        Raises:
            ServiceError: `unknown_mask`, `bad_name` or `name_taken`.
        """
        with self._lock:
            mask, new_name = self.mask(name), checked_name(new_name)
            if new_name in self._masks and new_name != name:
                raise ServiceError("name_taken", f"the study has a mask {new_name!r} already.")
            mask.name = new_name
            self._masks = {each.name: each for each in self._masks.values()}
            self._note("rename", new_name)

    def delete(self, name: str) -> None:
        """Deletes a mask with all its answers.

        Raises:
            ServiceError: `unknown_mask`.
        """
        with self._lock:
            self.mask(name)
            self._note("delete", name)
            del self._masks[name]

    def _note(self, kind: str, name: str) -> None:
        record = self._masks[name].current.record
        told = {key: record[key] for key in ("query", "status", "volume_ml")}
        time = datetime.now(UTC).isoformat(timespec="seconds")
        self._history.append({"kind": kind, "mask": name, **told, "time": time})
        del self._history[:-MOST_HISTORY]

    def _free_name(self, query: str) -> str:
        """One that no mask has: the beginning of the query, with a number if need be."""
        printable = "".join(char if char.isprintable() and char not in "/\\" else " " for char in query)
        base = re.sub(r"\s+", " ", printable).strip(" .")[: LONGEST_NAME - 8].strip(" .") or "mask"
        name, number = base, 1
        while name in self._masks:
            number += 1
            name = f"{base} {number}"
        return name


def checked_name(name: str) -> str:
    """A name that a user gives a mask: one segment of a URL, on one line.

    Raises:
        ServiceError: `bad_name`.
    """
    legal = 0 < len(name) <= LONGEST_NAME and name.isprintable() and name.strip(" .") and not set(name) & set("/\\")
    if not legal:
        raise ServiceError(
            "bad_name",
            f"{name[:LONGEST_NAME]!r} is no name of a mask: 1 to {LONGEST_NAME} printable characters without / and \\ "
            "are legal, not dots alone.",
        )
    return name

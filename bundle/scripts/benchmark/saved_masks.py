"""Masks that another system saved, brought onto the grid of the image; what cannot be placed in space is refused.

A wrong place costs a system its score, and a lost header looks like a bad segmentation. So nothing is guessed: a mask
lies where its affine says (`affine`), or has the image's own voxels (`same_shape`), or comes with a file that says
where it lies (`sidecar`).
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..volume.io import VolumeError, nifti_stem, read_volume
from .failures import MaskError
from .placement import PlacedMask, place_by_affine

GRIDS = ("affine", "same_shape", "sidecar")

_MOST_LISTED = 12  # values in a message


class MaskPart(NamedTuple):
    """A file, the file that says where it lies, and the label values that are meant; None: all that is not zero."""

    path: Path
    sidecar: Path | None
    values: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class SavedMasks:
    """Where a system's masks are and how they are to be read.

    Attributes:
        masks: path of a case's file, `.nii`, `.nii.gz` or `.npz`, relative to `folder`. `{case}`, `{image}` (the
            image's file name without .nii.gz), `{target}`, `{patient}` and `{label}` are replaced.
        folder: what the paths are relative to.
        labels: which voxels are the target: None, wherever a mask is not zero; a number or a list of numbers, these
            values; or a mapping from target to numbers, or to texts: names for `{label}` of the files that hold it.
        grid: one of GRIDS.
        sidecar: with grid "sidecar", path of a JSON file `{"affine": 4 x 4}`: index of the stored array -> RAS+ mm.
            Replaced as in `masks`.
        array: name of the array in an npz.
        axes: the image's axes in the order of the stored array, with grid "same_shape": "zyx" for SimpleITK's arrays.
        void_values: values that say "not predicted" (VISTA3D: 255); background.

    Raises:
        ValueError: a setting that is not legal.
    """

    masks: str
    folder: Path = Path()
    labels: Any = None
    grid: str = "affine"
    sidecar: str | None = None
    array: str = "segs"
    axes: str = "xyz"
    void_values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.grid not in GRIDS:
            raise ValueError(f"grid is {self.grid!r}; legal are {', '.join(GRIDS)}")
        if (self.grid == "sidecar") != (self.sidecar is not None):
            raise ValueError(f"grid is {self.grid!r} and sidecar {self.sidecar!r}; they belong together")
        if sorted(self.axes) != list("xyz") or (self.axes != "xyz" and self.grid != "same_shape"):
            raise ValueError(
                f'axes is {self.axes!r} with grid {self.grid!r}; an order of "xyz" is legal, other than "xyz" with '
                "same_shape alone (elsewhere the affine says it)"
            )
        chosen = [value for value in _numbers(self.labels) if value in (0, *self.void_values)]
        if chosen:
            raise ValueError(f"labels has {chosen[0]:g}, which is background or one of void_values")

    def parts(self, entry: Mapping[str, Any]) -> tuple[MaskPart, ...]:
        """What is to be read for an entry of the datalist; equal parts give equal masks.

        Raises:
            MaskError: `labels` does not know the target, or a path has a placeholder that the entry does not have.
        """
        return tuple(self._part(entry, label, values) for label, values in self._choices(entry.get("target")))

    def place(self, parts: Sequence[MaskPart], shape: Sequence[int], affine: np.ndarray) -> PlacedMask:
        """The union of the parts on the grid of their image.

        Args:
            parts: from `parts`.
            shape: X, Y, Z of the image.
            affine: float64 [4,4] of the image, voxel index -> RAS+ mm.

        Raises:
            MaskError, VolumeError: what stands in the way.
        """
        placed = []
        for part in parts:
            stored, stored_affine = self._read(part.path)
            placed.append(self._placed(self._marked(stored, part), stored_affine, part, tuple(shape), affine))
        union = placed[0].mask if len(placed) == 1 else np.logical_or.reduce([each.mask for each in placed])
        return PlacedMask(union, all(each.exact for each in placed))

    def _choices(self, target: str | None) -> list[tuple[str | None, tuple[float, ...] | None]]:
        """(name for `{label}`, label values; None: all that is not zero) whose union is the target."""
        if not isinstance(self.labels, Mapping):
            return [(None, tuple(_numbers(self.labels)) or None)]
        if target not in self.labels:
            raise MaskError(
                "no_label_value", f"`labels` has no entry for the target {target!r}, only {', '.join(self.labels)}"
            )
        entry = self.labels[target]
        entries = entry if isinstance(entry, list | tuple) else [entry]
        values = tuple(float(each) for each in entries if not isinstance(each, str))
        named: list[tuple[str | None, tuple[float, ...] | None]]
        named = [(each, None) for each in entries if isinstance(each, str)]
        return [*named, (None, values)] if values else named

    def _part(self, entry: Mapping[str, Any], label: str | None, values: tuple[float, ...] | None) -> MaskPart:
        names = _names(entry, label)
        sidecar = None if self.sidecar is None else _filled(self.sidecar, names, self.folder)
        return MaskPart(_filled(self.masks, names, self.folder), sidecar, values)

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """The stored voxels and their affine, if the file has one."""
        if not path.is_file():
            raise MaskError("missing_mask", f"there is no {path}")
        if path.suffix != ".npz":
            try:
                return read_volume(path, is_label=True)
            except VolumeError as error:
                if error.reason == "non_finite_voxels":  # what it advises is meant for images
                    raise MaskError("not_labels", f"{path} has voxels that are NaN or infinite; save labels") from error
                raise
        if not zipfile.is_zipfile(path):
            raise MaskError("not_an_archive", f"{path} is not an npz, or is truncated")
        try:
            with np.load(path, allow_pickle=False) as archive:
                if self.array not in archive:
                    raise MaskError(
                        "missing_array", f"{path} has no array {self.array!r}, only {', '.join(archive)}; set `array`"
                    )
                stored = archive[self.array]
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise MaskError("not_an_archive", f"{path} is damaged ({error})") from error
        except MaskError:
            raise
        except ValueError as error:
            raise MaskError("not_labels", f"{path} does not hold plain numbers ({error})") from error
        if stored.ndim > 3:
            stored = stored.squeeze()
        if stored.ndim != 3:
            raise MaskError("not_3d", f"{self.array!r} of {path} has shape {stored.shape}; three axes are needed")
        return stored, None

    def _marked(self, stored: np.ndarray, part: MaskPart) -> np.ndarray:
        """bool, of the stored array's shape."""
        if stored.dtype.kind not in "biuf" or not np.isfinite(stored).all() or not (stored == np.rint(stored)).all():
            raise MaskError(
                "not_labels",
                f"{part.path} has voxels that are NaN or not whole numbers; save labels, not probabilities",
            )
        marked = ~_is_any(stored, (0, *self.void_values))
        if part.values is None:
            return marked
        target = _is_any(stored, part.values)
        if not target.any() and marked.any() and not np.isin(stored[marked], _numbers(self.labels)).any():
            found = ", ".join(f"{value:g}" for value in np.unique(stored[marked])[:_MOST_LISTED])
            raise MaskError(
                "label_value_absent",
                f"{part.path} holds the values {found} and none of those in `labels`; correct `labels`",
            )
        return target

    def _placed(
        self,
        mask: np.ndarray,
        stored_affine: np.ndarray | None,
        part: MaskPart,
        shape: tuple[int, ...],
        affine: np.ndarray,
    ) -> PlacedMask:
        if self.grid == "same_shape":
            mask = mask.transpose([self.axes.index(axis) for axis in "xyz"])
            if mask.shape != shape:
                raise MaskError(
                    "other_shape", f"the mask has {mask.shape} voxels (x, y, z), its image {shape}; grid is same_shape"
                )
            return PlacedMask(mask, True)
        if part.sidecar is not None:
            stored_affine = _sidecar_affine(part.sidecar)
        if stored_affine is None:
            raise MaskError("no_affine", "an npz has no affine: set grid to same_shape, or to sidecar")
        return place_by_affine(mask, stored_affine, shape, affine)


def _is_any(voxels: np.ndarray, values: Sequence[float]) -> np.ndarray:
    """Where voxels have one of few values, bool; `np.isin` would first reorder a volume as NIfTI holds it."""
    found = voxels == values[0]
    for value in values[1:]:
        found |= voxels == value
    return found


def _sidecar_affine(path: Path) -> np.ndarray:
    """float64 [4,4] from `{"affine": ...}`."""
    if not path.is_file():
        raise MaskError("missing_sidecar", f"there is no {path}, which should say where the mask lies")
    try:
        affine = np.array(json.loads(path.read_text(encoding="utf-8"))["affine"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MaskError("bad_sidecar", f'{path} is not a JSON object with "affine" ({error})') from error
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise MaskError("bad_sidecar", f"the affine of {path} must be 4 x 4, finite and invertible")
    return affine


def _numbers(labels: Any) -> list[float]:
    """All numbers in the setting `labels`."""
    if isinstance(labels, Mapping):
        return [number for entry in labels.values() for number in _numbers(entry)]
    if isinstance(labels, list | tuple):
        return [number for entry in labels for number in _numbers(entry)]
    return [] if labels is None or isinstance(labels, str) else [float(labels)]


def _names(case: Mapping[str, Any], label: str | None) -> dict[str, str]:
    """What the placeholders of a path stand for."""
    names = {name: str(case[name]) for name in ("case", "target", "patient") if name in case}
    names["image"] = nifti_stem(case["image"])
    return names if label is None else names | {"label": label}


def _filled(pattern: str, names: Mapping[str, str], folder: Path) -> Path:
    unknown = [name for name in re.findall(r"\{(\w+)\}", pattern) if name not in names]
    if unknown:
        raise MaskError(
            "missing_mask",
            f"the path {pattern!r} has {{{unknown[0]}}}, which this case does not have; legal here: {', '.join(names)}",
        )
    return folder / re.sub(r"\{(\w+)\}", lambda found: names[found[1]], pattern)

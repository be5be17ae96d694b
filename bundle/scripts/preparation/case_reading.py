"""Reading a case as it was found, with the known defects of the public data sets repaired and counted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from ..layouts.found_cases import FoundCase
from ..volume.grid import Grid, check_same_grid
from ..volume.io import has_spacing, read_volume, with_channels
from ..volume.voxel_values import doubt_of_hu
from ..volume.windows import CT
from .anatomical_axes import anatomical_axes
from .case_failures import CaseError
from .m3d_arrays import read_arrays

REPAIRS = ("no_header", "identity_affine", "wrong_spacing", "non_orthonormal", "not_hu")
"""What a case can need: `non_orthonormal` is only counted, nibabel reads what SimpleITK refuses."""
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_AIR_HU, _WINDOW_HU, _PERCENTILES = -1024.0, (-160.0, 240.0), (5.0, 95.0)
# Cosines between the axes of a header; float32 leaves 1e-7, a gantry tilt 1e-1.
_ORTHONORMAL = 1e-4

Axes = str | Mapping[str, str] | None
"""Config key `axes`: codes for all cases whose header does not tell, or a case's by name."""
Spacing = Sequence[float] | Mapping[str, Sequence[float]] | None
"""Config key `spacing`: mm along the axes as stored; for all cases whose header lies, or a case's by name."""


class ReadCase(NamedTuple):
    """A case in memory."""

    image: np.ndarray
    """float32 [X, Y, Z] in HU, or near them (`not_hu`); of another modality as stored, coloured [3, X, Y, 1]"""
    label: np.ndarray
    """whole numbers [X, Y, Z], in few bytes"""
    affine: np.ndarray
    """float64 [4, 4], voxel index to RAS+ mm"""
    spacing_is_known: bool
    """False: the affine says 1 x 1 x 1 mm for want of anything better"""
    repairs: dict[str, str]
    """what was done, by REPAIRS; `image` differs from its file if one but `non_orthonormal` is there"""
    warnings: list[str]
    """what reading warned of"""

    @property
    def is_changed(self) -> bool:
        """Whether the image has to be written anew."""
        return bool(set(self.repairs) - {"non_orthonormal"})


def read_case(case: FoundCase, axes: Axes = None, spacing: Spacing = None) -> ReadCase:
    """Reads a case.

    Args:
        case: as found.
        axes, spacing: what the user knows better, see `Axes` and `Spacing`.

    Raises:
        VolumeError: a file that cannot be read, or a label that does not lie on its image.
        CaseError: see CASE_FAILURES.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        read = _arrays(case, axes, spacing) if case.image.suffix == ".npy" else _volumes(case, axes, spacing)
    _check_values(case, read.label)
    messages = [str(warning.message) for warning in caught]
    doubt = doubt_of_hu(read.image) if case.intensity == CT else None
    if doubt is None:
        return read._replace(warnings=messages)
    done = "the 5th and 95th percentile of what is brighter than the background are now -160 and 240 HU"
    return read._replace(
        image=near_hu(read.image),
        repairs=read.repairs | {"not_hu": f"{doubt}; {done}"},
        warnings=[message for message in messages if doubt not in message],
    )


def near_hu(image: np.ndarray) -> np.ndarray:
    """A volume that is not in HU, so that the window of the models shows what lies in it.

    The background is the smallest value: it becomes air, -1024. Of the others the 5th percentile becomes -160 and the
    95th 240, the edges of the window, and what lies between is linear. These are no HU.

    Args:
        image: [X, Y, Z], not constant.
    """
    inside = image > image.min()
    low, high = np.percentile(image[inside], _PERCENTILES)
    scale = (_WINDOW_HU[1] - _WINDOW_HU[0]) / max(float(high - low), 1e-6)
    return np.where(inside, _WINDOW_HU[0] + (image - low) * scale, _AIR_HU).astype(np.float32)


def affine_of(axes: str, spacing: Sequence[float]) -> np.ndarray:
    """The affine of axes that point in these directions ("LPS"), with its origin at the first voxel."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for column, code in enumerate(axes):
        row, sign = _DIRECTIONS[code]
        affine[row, column] = sign * spacing[column]
    return affine


def _arrays(case: FoundCase, axes: Axes, spacing: Spacing) -> ReadCase:
    image, label = read_arrays(case.image, case.label)
    codes = _given_axes(case.case, axes) or anatomical_axes(image, label, case.names, case.axes)
    known = _given_spacing(case.case, spacing)
    size = "given" if known else "not known: written as 1 x 1 x 1 mm, so mm and ml mean nothing"
    repairs = {"no_header": f"axes {codes}, spacing {size}"}
    return ReadCase(image, label, affine_of(codes, known or (1.0, 1.0, 1.0)), known is not None, repairs, [])


def _volumes(case: FoundCase, axes: Axes, spacing: Spacing) -> ReadCase:
    image, affine = read_volume(case.image, intensity=case.intensity)
    label, label_affine = read_volume(case.label, is_label=True)
    repairs: dict[str, str] = {}
    if image.shape == label.shape and case.intensity == CT:
        defect = _defect(case, affine)
        if defect is not None:
            told, affine = _repaired(case, defect, (image, affine), (label, label_affine), axes, spacing)
            repairs[defect] = told
            label_affine = affine
    shape = with_channels(image).shape[1:]
    check_same_grid(Grid(label.shape, label_affine, str(case.label)), Grid(shape, affine, str(case.image)))
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    off = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if off > _ORTHONORMAL:
        repairs["non_orthonormal"] = f"axes are off the right angle by a cosine of {off:.2g}; read as they are"
    return ReadCase(image, _in_few_bytes(label), affine, has_spacing(case.image), repairs, [])


def _in_few_bytes(label: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them: what counts and compares them reads a quarter."""
    least, most = (np.min_scalar_type(int(value)) for value in (label.min(), label.max()))
    return label.astype(np.promote_types(least, most))


def _defect(case: FoundCase, affine: np.ndarray) -> str | None:
    """The repair that a header needs."""
    if np.allclose(affine, np.eye(4), atol=1e-6):
        return "identity_affine"
    return "wrong_spacing" if case.spacing_is_doubted and _is_unit(affine) else None


def _repaired(
    case: FoundCase,
    defect: str,
    image: tuple[np.ndarray, np.ndarray],
    label: tuple[np.ndarray, np.ndarray],
    axes: Axes,
    spacing: Spacing,
) -> tuple[str, np.ndarray]:
    """What was done about an image's header, and the affine; image and label are voxels and affine as read."""
    if not _is_unit(label[1]):
        return "the label's header was taken for both", label[1]
    known = _given_spacing(case.case, spacing) or _pixdim(case.image) or _pixdim(case.label)
    if known is None:
        raise CaseError(
            "wrong_spacing",
            f"{case.image} says 1 x 1 x 1 mm, which is wrong, and nothing else tells the spacing; give `spacing`, as "
            f"\"{{'{case.case}': [0.8, 0.8, 2.5]}}\", mm along the axes as stored",
        )
    if defect == "wrong_spacing":
        return f"spacing {list(known)} mm", image[1] @ np.diag([*known, 1.0])
    codes = _given_axes(case.case, axes) or anatomical_axes(image[0], label[0], case.names, None)
    return f"axes {codes}, spacing {list(known)} mm", affine_of(codes, known)


def _is_unit(affine: np.ndarray) -> bool:
    return bool(np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1.0, atol=1e-4))


def _pixdim(path: Path) -> tuple[float, ...] | None:
    """The spacing field of a header, which may be right where the affine is not; None if it says 1 as well."""
    pixdim = tuple(round(float(edge), 6) for edge in nib.load(path).header["pixdim"][1:4])
    return None if pixdim == (1.0, 1.0, 1.0) else pixdim


def _given_axes(case: str, axes: Axes) -> str | None:
    codes = axes.get(case) if isinstance(axes, Mapping) else axes
    if codes is None:
        return None
    if not isinstance(codes, str) or len(codes) != 3 or {_DIRECTIONS.get(code, "?")[0] for code in codes} != {0, 1, 2}:
        raise CaseError(
            "unknown_axes",
            f"`axes` is {codes!r}; give one of L or R, one of P or A, and one of S or I, in the order of the axes, as "
            '"LPS"',
        )
    return codes


def _given_spacing(case: str, spacing: Spacing) -> tuple[float, ...] | None:
    known = spacing.get(case) if isinstance(spacing, Mapping) else spacing
    if known is None:
        return None
    try:
        edges = tuple(float(edge) for edge in known)
    except (TypeError, ValueError):
        edges = ()
    if len(edges) != 3 or not all(np.isfinite(edge) and edge > 0 for edge in edges):
        raise CaseError("wrong_spacing", f"`spacing` is {known!r}; give three numbers above 0, in mm")
    return edges


def _check_values(case: FoundCase, label: np.ndarray) -> None:
    """Something is marked, and every value has a name; a mask that questions pick values of may have others."""
    voxels = label.ravel(order="K")
    marked = voxels[voxels != 0]
    if not marked.size:
        raise CaseError("no_target", f"{case.label} marks nothing")
    if case.questions:
        return
    legal = {value for values in case.names.values() for value in values}
    values, counts = np.unique(marked, return_counts=True)
    strange = {int(value): int(count) for value, count in zip(values, counts, strict=True) if value not in legal}
    if strange:
        table = ", ".join(f"{name} {values}" for name, values in case.names.items())
        raise CaseError(
            "unknown_label",
            f"{case.label} has the values {strange} (value: voxels), which have no name; known are {table}. Correct "
            "the label map or the table of names",
        )

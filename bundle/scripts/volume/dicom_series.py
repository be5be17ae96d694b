"""A DICOM series of a CT, MR or PET to a volume: where each slice lies is computed from its own header, and checked.

pydicom reads the files. MONAI's PydicomReader is not used: it sorts by InstanceNumber, takes the mean of the distances
along z for the spacing, and only warns where slices differ.

Nothing is resampled. What a tilted gantry or an oblique series does to the voxels stands in the affine, exactly; what
an affine cannot say (a missing slice, two sizes of pixels) is refused.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from .dicom_headers import series_headers
from .dicom_plane import Plane, planes_of
from .failures import VolumeError

_logger = logging.getLogger(__name__)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Slices nearer than this are at one place.
_SAME_PLACE_MM = 0.01
# A slice may lie off the grid by this part of a voxel: scanners round positions.
_ALLOWED_SHIFT = 0.1
# Cosines, and pixel spacing relative to itself, are equal up to this: 0.04 mm over a slice of 400 mm.
_SAME_NUMBER = 1e-4


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A series whose slices make a volume.

    Args:
        path: that the user gave, for messages.
        planes: the slices, along the normal (row x column) of their plane: with an axial series that is not turned
            over, from inferior to superior.
        affine: float64 [4, 4], voxel index (column, row, slice) to RAS+ mm.
    """

    path: str
    planes: tuple[Plane, ...]
    affine: np.ndarray

    @property
    def files(self) -> tuple[str, ...]:
        """The files in the order of their slices, each once."""
        return tuple(dict.fromkeys(plane.path for plane in self.planes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.planes[0].shape
        return columns, rows, len(self.planes)

    def voxels(self) -> np.ndarray:
        """float32 [X, Y, Z]: columns, rows, slices; HU, or the scanner's values of MR and PET. See `read_planes`."""
        return self.read_planes(2, np.arange(len(self.planes)))

    def read_planes(self, axis: int, index: np.ndarray) -> np.ndarray:
        """Some planes of the volume. All files are read, so that a damaged one is found, and these planes kept.

        Args:
            axis: that the planes are stacked along: 0, 1 or 2.
            index: of the planes along it, increasing.

        Returns:
            float32 [X, Y, Z], values as of `voxels`, with the planes of `index` alone along `axis`.

        Raises:
            VolumeError: `truncated_file` or `cannot_decode`.
        """
        shape = list(self.shape)
        shape[axis] = len(index)
        volume = np.empty(shape[::-1], dtype=np.float32)
        places = {int(number): place for place, number in enumerate(index)}
        path, frames = "", np.empty(0)
        for number, plane in enumerate(self.planes):
            if plane.path != path:
                path, frames = plane.path, plane.frames()
            values = plane.scaled(frames)
            if axis != 2:
                volume[number] = values.take(index, axis=1 - axis)
            elif number in places:
                volume[places[number]] = values
        return volume.transpose(2, 1, 0)


def find_series(path: str | os.PathLike, *, in_hu: bool = True) -> DicomSeries:
    """The series that a path names, see `dicom_headers.series_headers`, with its slices checked and in order.

    Args:
        path: of a folder or file.
        in_hu: False takes a series of MR or PET as well, whose values are those of the scanner: rescale slope and
            intercept are applied where they are given.

    Raises:
        VolumeError: which series is meant is not clear, or its slices do not make a volume; see VOLUME_FAILURES.
        ImportError: pydicom is not installed.
    """
    path = os.fspath(path)
    planes = [plane for header in series_headers(path, in_hu=in_hu) for plane in planes_of(header, in_hu)]
    _check_alike(path, planes)
    normal = np.cross(*planes[0].cosines)
    planes.sort(key=lambda plane: float(plane.position_mm @ normal))
    planes = _without_copies(path, planes, normal)
    affine = _affine(path, planes, normal)
    _check_places(path, planes, affine)
    return DicomSeries(path, tuple(planes), _LPS_TO_RAS @ affine)


def series_image(series: DicomSeries) -> nib.Nifti1Image:
    """The series as a NIfTI image, float32: sform, and the qform where it can say the same (no tilted gantry)."""
    image = nib.Nifti1Image(series.voxels(), series.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(series.affine, code="scanner")
    image.set_qform(series.affine, code="scanner")
    if not np.allclose(image.get_qform(), series.affine, atol=1e-3):
        image.header["qform_code"] = 0
    return image


def _check_alike(path: str, planes: Sequence[Plane]) -> None:
    """All slices of one size, orientation, spacing and frame of reference."""
    first = planes[0]
    for plane in planes[1:]:
        found = {
            "sizes (rows, columns)": (first.shape == plane.shape, first.shape, plane.shape),
            "orientations (ImageOrientationPatient)": (
                np.allclose(first.cosines, plane.cosines, rtol=0, atol=_SAME_NUMBER),
                first.cosines.ravel().tolist(),
                plane.cosines.ravel().tolist(),
            ),
            "PixelSpacing (columns, rows)": (
                np.allclose(first.spacing_mm, plane.spacing_mm, rtol=_SAME_NUMBER, atol=0),
                first.spacing_mm,
                plane.spacing_mm,
            ),
            "FrameOfReferenceUID": (
                first.frame_of_reference == plane.frame_of_reference,
                first.frame_of_reference,
                plane.frame_of_reference,
            ),
        }
        for name, (same, one, other) in found.items():
            if not same:
                raise VolumeError(
                    "mixed_slices",
                    f"the series of {path} has slices of different {name}: {one} in {first.path!r}, {other} in "
                    f"{plane.path!r}; a volume has one: put the slices that are meant into a folder of their own",
                )


def _without_copies(path: str, planes: Sequence[Plane], normal: np.ndarray) -> list[Plane]:
    """The slices, sorted as given, without those that another one at the same place equals voxel by voxel."""
    kept = [planes[0]]
    for plane in planes[1:]:
        last = kept[-1]
        if (plane.position_mm - last.position_mm) @ normal > _SAME_PLACE_MM:
            kept.append(plane)
            continue
        is_same_place = np.allclose(plane.position_mm, last.position_mm, rtol=0, atol=_SAME_PLACE_MM)
        if not is_same_place or not np.array_equal(last.values(), plane.values()):
            raise VolumeError(
                "duplicate_slices",
                f"the series of {path} has two different slices at one place: {last.path!r} and {plane.path!r}; if it "
                "holds several phases or repetitions, put the slices of one into a folder of their own",
            )
        _logger.info("%s: %r is a copy of %r, and left out", path, plane.path, last.path)
    return kept


def _affine(path: str, planes: Sequence[Plane], normal: np.ndarray) -> np.ndarray:
    """float64 [4, 4], voxel index to LPS mm; the third axis is the mean step between slices, whatever its direction."""
    first, last = planes[0], planes[-1]
    affine = np.eye(4)
    affine[:3, :2] = first.cosines.T * first.spacing_mm
    affine[:3, 3] = first.position_mm
    if len(planes) > 1:
        affine[:3, 2] = (last.position_mm - first.position_mm) / (len(planes) - 1)
    elif first.thickness_mm > 0:
        affine[:3, 2] = normal * first.thickness_mm
    else:
        raise VolumeError(
            "bad_spacing",
            f"{path} is one slice, {first.path!r}, without a SliceThickness; how thick it is must be known",
        )
    return affine


def _check_places(path: str, planes: Sequence[Plane], affine: np.ndarray) -> None:
    """That the slices are where the affine puts them."""
    if len(planes) == 1:
        return
    places = np.array([plane.position_mm for plane in planes])
    step = affine[:3, 2]
    if abs(np.linalg.det(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))) < 0.5:
        raise VolumeError(
            "uneven_slices",
            f"the slices of {path} are shifted against each other by more than they are apart, {step.tolist()} mm a "
            "slice (LPS): their ImagePositionPatient is wrong; export the series again",
        )
    off = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T - np.outer(np.arange(len(planes)), (0, 0, 1))
    if np.abs(off).max() <= _ALLOWED_SHIFT:
        return
    gaps = np.diff(places @ np.cross(*planes[0].cosines))
    usual = np.sort(gaps)[(len(gaps) - 1) // 2]
    steps = gaps / usual
    widest = int(np.argmax(steps))
    pair = f"between {planes[widest].path!r} and {planes[widest + 1].path!r}"
    if steps[widest] > 1.5 and np.abs(steps - steps.round()).max() <= _ALLOWED_SHIFT:
        missing = int((steps.round() - 1).sum())
        raise VolumeError(
            "missing_slices",
            f"the series of {path} lacks {missing} slice{'s' * (missing > 1)}: {gaps[widest]:.4g} mm {pair}, where "
            f"{usual:.4g} mm is the distance of the others; copy the whole series again",
        )
    worst = int(np.abs(off).max(axis=1).argmax())
    raise VolumeError(
        "uneven_slices",
        f"the slices of {path} do not lie on a grid: {planes[worst].path!r} is off by {np.abs(off[worst]).max():.2g} "
        f"voxels, at most {_ALLOWED_SHIFT:g} is legal, and distances go from {gaps.min():.4g} to {gaps.max():.4g} mm "
        f"(the largest {pair}); put slices of one distance into a folder of their own, or resample the series",
    )

"""A canvas on which a phantom is painted: warped body coordinates, implicit shapes, partial volume.

Shapes are signed distances in millimetres of the standard patient, positive inside. Painting blends a shape's HU by the
share of the voxel that the shape covers, so that borders show partial volume. Arrays here are [Z,Y,X]: slices first, so
that a structure's slices are contiguous in memory. All of them are float32.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# The domain of the warp in the standard patient (mm): x to the left, y to posterior, z to superior from the kidneys.
_WARP_LOW = np.array([-320.0, -260.0, -360.0])
_WARP_STEP = 58.0
_WARP_COUNT = (12, 10, 18)  # control points along x, y, z


class Region(NamedTuple):
    """A box of the canvas: where it lies, and the body coordinates of its voxels.

    Attributes:
        where: slices into [Z,Y,X].
        x, y, z: [Z,Y,X] warped coordinates in the standard patient, mm.
    """

    where: tuple[slice, slice, slice]
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


class _Axis(NamedTuple):
    """Evenly spaced voxel centres along one axis of the grid, mm."""

    first: float
    step: float
    size: int

    @classmethod
    def of(cls, centres: np.ndarray) -> "_Axis":
        step = float(centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 1.0
        return cls(float(centres[0]), step, len(centres))


class Canvas:
    """A CT volume and its label map while they are painted.

    Args:
        x_mm, y_mm, z_mm: the voxel centres along each axis of the grid, in mm of the standard patient.
        roll_rad: how far the patient is turned about the long axis.
        warp_rng: the smooth random warp that makes every patient different is drawn from it, independently of the grid.
        warp_mm: the largest shift of the warp's control points.

    Attributes:
        image: [Z,Y,X] HU, air at first.
        label: [Z,Y,X] uint8.
    """

    def __init__(
        self,
        x_mm: np.ndarray,
        y_mm: np.ndarray,
        z_mm: np.ndarray,
        roll_rad: float,
        warp_rng: np.random.Generator,
        warp_mm: float,
    ):
        x, y, z = (np.asarray(axis, np.float32) for axis in (x_mm, y_mm, z_mm))
        self._axes = [_Axis.of(axis) for axis in (x, y, z)]
        self._cos, self._sin = float(np.cos(roll_rad)), float(np.sin(roll_rad))
        basis = [
            _spline_basis(axis, low, count) for axis, low, count in zip((x, y, z), _WARP_LOW, _WARP_COUNT, strict=True)
        ]
        controls = warp_rng.uniform(-warp_mm, warp_mm, (3, *_WARP_COUNT[::-1])).astype(np.float32)
        fields = [_spline_field(control, basis) for control in controls]
        self._margins = [max(float(field.max()), -float(field.min())) for field in fields]
        fields[0] += self._cos * x[None, None, :] + self._sin * y[None, :, None]
        fields[1] += self._cos * y[None, :, None] - self._sin * x[None, None, :]
        fields[2] += z[:, None, None]
        self._fields = fields
        # The border of a shape is as wide as a pixel: that is the in-plane partial volume.
        self._pixel = self._axes[0].step
        self.image = np.full(fields[0].shape, -1000.0, np.float32)
        self.label = np.zeros(fields[0].shape, np.uint8)

    def region(self, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Region:
        """The box around `centre` that surely holds centre +- half (mm of the standard patient); it may be empty."""
        cos, sin = self._cos, self._sin
        middles = (cos * centre[0] - sin * centre[1], sin * centre[0] + cos * centre[1], centre[2])
        reaches = (cos * half[0] + abs(sin) * half[1], abs(sin) * half[0] + cos * half[1], half[2])
        where = []
        for axis, margin, middle, reach in zip(self._axes, self._margins, middles, reaches, strict=True):
            low, high = middle - reach - margin - self._pixel, middle + reach + margin + self._pixel
            start = min(max(ceil((low - axis.first) / axis.step), 0), axis.size)
            stop = min(max(ceil((high - axis.first) / axis.step), start), axis.size)
            where.append(slice(start, stop))
        box = (where[2], where[1], where[0])
        x, y, z = (field[box] for field in self._fields)
        return Region(box, x, y, z)

    def slab(self, low_z: float, high_z: float) -> Region:
        """All voxels between two heights."""
        return self.region((0.0, 0.0, (low_z + high_z) / 2), (1e4, 1e4, (high_z - low_z) / 2))

    def paint(self, region: Region, distance: np.ndarray, hu: np.ndarray | float, label: int = 0) -> None:
        """Paint a shape: blend its HU by coverage and set its label (0 takes the labels below it away)."""
        if not distance.size:
            return
        cover = distance * (1 / self._pixel)
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        image = self.image[region.where]
        cover *= hu - image
        image += cover
        np.copyto(self.label[region.where], np.uint8(label), where=distance > 0)

    def paint_within(self, region: Region, distance: np.ndarray, hu: float, label: int) -> None:
        """Paint only where `label` lies already, which stays: the vessels of an organ."""
        self.paint(region, np.where(self.label[region.where] == label, distance, np.float32(-1e3)), hu, label)

    def tube(self, points: ArrayLike, radii: ArrayLike, halo: float = 2.0) -> tuple[Region, np.ndarray]:
        """A tube along a polyline, each piece computed in its own box.

        Args:
            points: [N,3] mm.
            radii: [N] mm at the points; linear in between.
            halo: how far outside its surface the distance is needed, mm; farther out it is -1e3.

        Returns:
            Its box, and its signed distance there.
        """
        path, thickness = np.asarray(points, float), np.asarray(radii, float).tolist()
        region = self._box(path.min(axis=0).tolist(), path.max(axis=0).tolist(), max(thickness) + halo)
        best = np.full(region.x.shape, -1e3, np.float32)
        if not best.size:
            return region, best
        points_mm = path.tolist()
        for start, end, radius, radius_end in zip(points_mm, points_mm[1:], thickness, thickness[1:], strict=False):
            low, high = list(map(min, start, end)), list(map(max, start, end))
            piece = self._box(low, high, max(radius, radius_end) + halo)
            if not piece.x.size:
                continue
            axis = [b - a for a, b in zip(start, end, strict=True)]
            dx, dy, dz = piece.x - start[0], piece.y - start[1], piece.z - start[2]
            along = dx * axis[0]
            along += dy * axis[1]
            along += dz * axis[2]
            along *= 1 / sum(step * step for step in axis)
            np.clip(along, 0, 1, out=along)
            dx -= along * axis[0]
            dy -= along * axis[1]
            dz -= along * axis[2]
            along *= radius_end - radius
            along += radius
            along -= np.sqrt(dx * dx + dy * dy + dz * dz)
            inside = tuple(
                slice(s.start - o.start, s.stop - o.start) for s, o in zip(piece.where, region.where, strict=True)
            )
            np.maximum(best[inside], along, out=best[inside])
        return region, best

    def _box(self, low: list[float], high: list[float], reach: float) -> Region:
        x, y, z = ((a + b) / 2 for a, b in zip(low, high, strict=True))
        half_x, half_y, half_z = ((b - a) / 2 + reach for a, b in zip(low, high, strict=True))
        return self.region((x, y, z), (half_x, half_y, half_z))

    def add_layer(self, distance: np.ndarray, step_hu: float) -> None:
        """Add a step of HU inside a shape [Z,Y,X] that spans the canvas: for nested layers, cheaper than painting."""
        cover = distance * (1 / self._pixel)
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        cover *= np.float32(step_hu)
        self.image += cover


def ellipsoid(
    region: Region,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    turn_rad: float = 0.0,
    lean: tuple[float, float] = (0.0, 0.0),
    bumps: np.ndarray | None = None,
) -> np.ndarray:
    """Signed distance (first order) of an ellipsoid, positive inside.

    Args:
        region: where to compute it.
        centre, radii: mm.
        turn_rad: turn of its x and y axes in plane.
        lean: shift of the centre in x and y per mm of height: a leaning long axis.
        bumps: [N,3] relative amplitude, phase and twist along z of angular harmonics 2, 3, ... N+1 of the radius.
    """
    cx, cy, cz, rx, ry, rz = (np.float32(value) for value in (*centre, *radii))
    w = (region.z - cz) * (1 / rz)
    dx, dy = region.x - cx, region.y - cy
    if lean[0] or lean[1]:
        dx -= w * (np.float32(lean[0]) * rz)
        dy -= w * (np.float32(lean[1]) * rz)
    if turn_rad:
        cos, sin = np.float32(np.cos(turn_rad)), np.float32(np.sin(turn_rad))
        dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
    dx *= 1 / rx
    dy *= 1 / ry
    uu, vv, ww = dx * dx, dy * dy, w * w
    plane = uu + vv
    k = np.sqrt(plane + ww)
    # First order: (surface - k) over the length of k's gradient.
    uu *= 1 / (rx * rx)
    vv *= 1 / (ry * ry)
    ww *= 1 / (rz * rz)
    uu += vv
    uu += ww
    uu += np.float32(1e-9)
    slope = np.sqrt(uu, out=uu)
    surface = 1.0 if bumps is None else 1 + harmonics(dx, dy, w, plane, bumps)
    distance = surface - k
    k += np.float32(1e-3)
    distance *= k
    distance /= slope
    return distance


def harmonics(u: np.ndarray, v: np.ndarray, w: np.ndarray, plane: np.ndarray, bumps: np.ndarray) -> np.ndarray:
    """Sum of amplitude * cos(n * angle + phase + twist * w), n = 2, 3, ...; fades out towards the poles.

    The real part of a polynomial in exp(i * angle), by Horner's recurrence: no trigonometry per voxel. The twist uses
    the mean w of a slice.
    """
    if not w.size:
        return w
    unit = np.empty(u.shape, np.complex64)
    inverse = 1 / np.sqrt(plane + np.float32(1e-6))
    np.multiply(u, inverse, out=unit.real)
    np.multiply(v, inverse, out=unit.imag)
    height = w.mean(axis=(1, 2), keepdims=True)
    factors = [np.complex64(a) * np.exp(1j * (p + t * height)).astype(np.complex64) for a, p, t in bumps.tolist()]
    power = unit * factors[-1]
    for factor in factors[-2::-1]:
        power += factor
        power *= unit
    power *= unit
    return power.real * np.minimum(plane * 4, 1)


def draw_bumps(rng: np.random.Generator, amplitude: float, count: int = 3) -> np.ndarray:
    """Random angular harmonics [count,3] for `ellipsoid`, weaker for higher orders."""
    order = np.arange(2, 2 + count)
    return np.stack(
        [
            amplitude * rng.uniform(0.4, 1.0, count) * 2 / order,
            rng.uniform(0, 2 * np.pi, count),
            rng.uniform(-2, 2, count),
        ],
        1,
    )


def ball(region: Region, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Signed distance of a ball (mm)."""
    dx, dy, dz = (axis - np.float32(middle) for axis, middle in zip(region[1:], centre, strict=True))
    return radius - np.sqrt(dx * dx + dy * dy + dz * dz)


def join(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Union of two shapes with a rounded seam about `blend` mm wide."""
    overlap = np.maximum(np.float32(blend) - np.abs(a - b), 0)
    return np.maximum(a, b) + overlap * overlap * np.float32(0.25 / blend)


def carve(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Shape a without shape b, the rim rounded over about `blend` mm."""
    return -join(-a, b, blend)


def _spline_basis(axis: np.ndarray, low: float, count: int) -> np.ndarray:
    """[len(axis),count] values of uniform cubic B-splines, step `_WARP_STEP`, the first centred at `low`."""
    t = np.abs((axis[:, None] - low) / _WARP_STEP - np.arange(count))
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, inner, outer).astype(np.float32)


def _spline_field(control: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """[Z,Y,X] field from control values [count_z,count_y,count_x]."""
    field = np.matmul(basis[1], control @ basis[0].T)  # [count_z,Y,X]
    return np.tensordot(basis[2], field, axes=1)

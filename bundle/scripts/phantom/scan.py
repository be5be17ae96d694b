"""Phantoms: procedural abdominal CT in HU with label maps, deterministic in their arguments.

Three subsets mirror the paper's data: `organs` (abdominal organs), `whole_body` (chest or head to pelvis) and `renal`
(kidneys with tumors and cysts). A fourth, `wide`, shows anybody anyhow, see :mod:`.wide`. The anatomy of a patient
depends on (seed, subset) alone; the grid it is scanned on also on `shape`, and its axes on `canonical`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .anatomy import LABELS, Patient, draw_patient, paint_bowel, paint_chest, paint_trunk, paint_vessels
from .canvas import Canvas
from .lesions import paint_lesions
from .organs import paint_bladder, paint_kidney, paint_liver, paint_pancreas, paint_spleen
from .scanner import acquire, draw_scan, draw_shape
from .skeleton import paint_head, paint_pelvis, paint_ribs, paint_spine
from .wide import acquire_wide, draw_wide_patient, draw_wide_scan, paint_arms

__all__ = ["ALL_SUBSETS", "LABELS", "SEEDS", "SUBSETS", "Phantom", "make_phantom", "seeds_of"]

SEEDS = {
    "train": range(0, 1_000_000),
    "validation": range(1_000_000, 1_010_000),
    "test": range(2_000_000, 2_010_000),
    "pretrain": range(3_000_000, 4_000_000),
}
SUBSETS = ("organs", "whole_body", "renal")
ALL_SUBSETS = (*SUBSETS, "wide")
_SUBSET_LABELS = {
    "organs": (1, 2, 3, 4, 5),
    "whole_body": (1, 2, 3, 6, 7, 8, 9, 10),
    "renal": (2, 3, 11, 12),
    "wide": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
}


class Phantom(NamedTuple):
    """A synthetic CT scan.

    Attributes:
        image: [X,Y,Z] float32 HU in -1024..1500.
        label: [X,Y,Z] uint8; 0 is what the subset does not name.
        affine: [4,4] float64, voxel to RAS+ mm as in NIfTI.
        label_names: id to name of every label of the subset, also of those absent in this patient.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    label_names: dict[int, str]


def seeds_of(split: str, num_volumes: int, subsets: Sequence[str] = SUBSETS) -> range:
    """The first seeds of a split, for a data set over some subsets.

    Raises:
        ValueError: an unknown split or subset, or more volumes than the split has seeds.
    """
    if split not in SEEDS:
        raise ValueError(f"Unknown split {split!r}; legal are {', '.join(SEEDS)}.")
    if not subsets or set(subsets) - set(ALL_SUBSETS):
        raise ValueError(f"Unknown subsets in {list(subsets)}; legal are {', '.join(ALL_SUBSETS)}.")
    if not 0 < num_volumes <= len(SEEDS[split]):
        raise ValueError(f"Split {split!r} has {len(SEEDS[split])} seeds, {num_volumes} volumes were asked for.")
    return SEEDS[split][:num_volumes]


def make_phantom(
    seed: int, subset: str, *, shape: tuple[int, int, int] | None = None, canonical: bool = False
) -> Phantom:
    """Make a phantom.

    Args:
        seed: which patient, >= 0; take it from the ranges of `SEEDS`.
        subset: one of `ALL_SUBSETS`.
        shape: (columns, rows, slices) before the axes are permuted; spacing is the field of view over it. None draws
            a clinical grid: 0.6-1.5 mm in plane, 1-5 mm between slices, 20-120 slices.
        canonical: voxel axes L, P, S (index i grows to the patient's left, j to posterior, k to superior). Otherwise
            axes are permuted and flipped, and the affine is oblique by up to 5 degrees.

    Raises:
        ValueError: seed, subset or shape is not legal; the message says what is.
    """
    _check(seed, subset, shape)
    root = np.random.SeedSequence((int(seed), ALL_SUBSETS.index(subset)))
    scan_rng, patient_rng, grid_rng, noise_rng, axes_rng, warp_rng = (np.random.default_rng(s) for s in root.spawn(6))
    wide = subset == "wide"
    patient = draw_wide_patient(patient_rng) if wide else draw_patient(patient_rng)
    scan = draw_wide_scan(patient.fat_mm, scan_rng) if wide else draw_scan(subset, patient.fat_mm, scan_rng)
    if shape is None:
        shape = draw_shape(scan, grid_rng)
    columns, rows, slices = (int(n) for n in shape)
    in_plane = scan.field_mm / min(columns, rows)
    spacing = np.array((in_plane, in_plane, (scan.high_z - scan.low_z) * scan.scale / slices))
    x, y = (
        (np.arange(n) - (n - 1) / 2) * in_plane / scan.scale / stretch - shift
        for n, shift, stretch in zip((columns, rows), scan.shift_mm, scan.stretch, strict=True)
    )
    z = scan.low_z + (np.arange(slices) + 0.5) * (scan.high_z - scan.low_z) / slices
    canvas = Canvas(x, y, z, scan.roll_rad, warp_rng, warp_mm=scan.warp_mm)
    _paint(canvas, patient, subset, scan.scale, patient_rng)
    if wide:
        image = acquire_wide(canvas.image, noise_rng)
    else:
        image = acquire(canvas.image, in_plane, spacing[2], noise_rng)
    keep = np.zeros(256, np.uint8)
    keep[list(_SUBSET_LABELS[subset])] = _SUBSET_LABELS[subset]
    image, label = image.transpose(2, 1, 0), keep.take(canvas.label).transpose(2, 1, 0)
    affine = np.diag((-spacing[0], -spacing[1], spacing[2], 1.0))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + axes_rng.uniform(-60, 60, 3)
    if not canonical:
        image, label, affine = _turn_axes(image, label, affine, axes_rng)
    names = {value: LABELS[value] for value in _SUBSET_LABELS[subset]}
    # Copies without negative strides (torch refuses those), in the memory order they have.
    return Phantom(image.copy(order="K"), label.copy(order="K"), affine, names)


def _check(seed: int, subset: str, shape: tuple[int, int, int] | None) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0 (see phantom.scan.SEEDS for the ranges), got {seed!r}")
    if subset not in ALL_SUBSETS:
        raise ValueError(f"subset must be one of {', '.join(ALL_SUBSETS)}, got {subset!r}")
    if shape is None:
        return
    legal = isinstance(shape, (tuple, list)) and len(shape) == 3
    legal = legal and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in shape)
    if not legal or min(shape[:2]) < 16 or shape[2] < 1:
        raise ValueError(
            f"shape must be three whole numbers (columns >= 16, rows >= 16, slices >= 1), got {shape!r}; "
            "or None for a clinical grid"
        )


def _paint(canvas: Canvas, patient: Patient, subset: str, scale: float, rng: np.random.Generator) -> None:
    """Everything, in painter's order: what comes later covers what came before."""
    rngs = iter(rng.spawn(16))
    cavity = paint_trunk(canvas, patient, next(rngs))
    paint_chest(canvas, patient, cavity, next(rngs))
    paint_spine(canvas, patient, next(rngs))
    paint_ribs(canvas, cavity, next(rngs))
    paint_vessels(canvas, patient, next(rngs))
    paint_bowel(canvas, patient, cavity, next(rngs))
    paint_spleen(canvas, patient, cavity, next(rngs))
    paint_liver(canvas, patient, cavity, next(rngs))
    paint_pancreas(canvas, patient, next(rngs))
    paint_kidney(canvas, patient, "right", next(rngs))
    paint_kidney(canvas, patient, "left", next(rngs))
    lesion_rng = next(rngs)
    if subset == "renal":
        paint_lesions(canvas, patient, cavity, scale, lesion_rng)
    paint_pelvis(canvas, patient, next(rngs))
    paint_bladder(canvas, patient, cavity, next(rngs))
    paint_head(canvas, patient, next(rngs))
    if subset == "wide":
        paint_arms(canvas, patient, next(rngs))


def _turn_axes(
    image: np.ndarray, label: np.ndarray, affine: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permute and flip the voxel axes, and lay the patient obliquely by at most 5 degrees; the affine follows."""
    order, flips = rng.permutation(3), rng.random(3) < 0.5
    index_map = np.zeros((4, 4))  # new voxel index -> old voxel index
    index_map[3, 3] = 1
    image, label = image.transpose(order), label.transpose(order)
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        index_map[old, new] = -1 if flip else 1
        index_map[old, 3] = image.shape[new] - 1 if flip else 0
    where = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    turn = np.eye(4)
    turn[:3, :3] = _rotation(rng)
    return image[where], label[where], turn @ affine @ index_map


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """[3,3] rotation by up to 5 degrees about a random axis (Rodrigues' formula)."""
    axis = rng.normal(0, 1, 3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(0, 5))
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

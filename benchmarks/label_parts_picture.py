"""Draws label maps of kidneys in parts, against the coordinates of their headers: a check of right and left by eye.

    python benchmarks/label_parts_picture.py case_00038_segmentation.nii.gz case_00257_segmentation.nii.gz \
        --output bundle/docs/images/label_parts.png

Each file has the values of KiTS23 (1 kidney, 2 tumor, 3 cyst). Above the view from the front, all voxels of a part
projected; below the axial slice with the most of a lesion. The patient's right is left in the picture, as in reports.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from medvol_r1.queries.label_parts import FIRST_LESION_VALUE, LabelParts, Part, label_parts

KITS23 = {"kidney": [1], "kidney tumor": [2], "kidney cyst": [3]}
COLORS = {
    "right kidney": "tab:blue", "left kidney": "tab:orange", "kidney tumor": "tab:red", "kidney cyst": "tab:green",
}  # fmt: skip


def read_parts(path: Path) -> tuple[LabelParts, np.ndarray]:
    """A file in parts, and where voxel 0 and each further one lie: the coordinates are the header's, never an order."""
    file = nib.load(path)
    return label_parts(np.asarray(file.dataobj).astype(np.uint8), file.affine, KITS23), file.affine


def draw(axes: tuple[Axes, Axes], parts: LabelParts, affine: np.ndarray, title: str) -> None:
    """One patient: the front view and a slice."""
    points = {part: nib.affines.apply_affine(affine, np.argwhere(parts.label == part.value)) for part in parts.parts}
    lesions = [part for part in parts.parts if part.value >= FIRST_LESION_VALUE]
    heights, counts = np.unique(np.concatenate([points[part] for part in lesions])[:, 2].round(2), return_counts=True)
    height = heights[counts.argmax()]
    for part, where in points.items():
        _scatter(axes[0], where[:, [0, 2]], part, marker="|", size=24)  # slices are thick: a bar a voxel
        on_slice = np.abs(where[:, 2] - height) < 0.1
        _scatter(axes[1], where[on_slice][:, [0, 1]], part, marker="s", size=1)
    axes[0].set(title=f"{title}, from the front", xlabel="x, mm (right is more)", ylabel="z, mm (up is more)")
    axes[1].set(title=f"axial, z = {height:g} mm", xlabel="x, mm (right is more)", ylabel="y, mm (front is more)")
    for one in axes:
        one.set_aspect("equal")
        one.invert_xaxis()
        one.text(0.02, 0.96, "R", transform=one.transAxes, va="top", weight="bold")
        one.text(0.98, 0.96, "L", transform=one.transAxes, va="top", ha="right", weight="bold")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=8, frameon=False, ncols=2)


def _scatter(axes: Axes, where: np.ndarray, part: Part, marker: str, size: float) -> None:
    is_lesion = part.value >= FIRST_LESION_VALUE
    name = f"{part.name} of the {part.side} kidney" if is_lesion else part.name
    x, y = np.unique(where, axis=0).T
    axes.scatter(
        x, y, s=size, marker=marker, color=COLORS[part.name], linewidths=0.8, zorder=2 if is_lesion else 1,
        label=f"{name}, {part.ml:.0f} ml",
    )  # fmt: skip


def main() -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("labels", type=Path, nargs="+", help="label maps with the values of KiTS23")
    parser.add_argument("--output", type=Path, required=True, help="the picture, PNG")
    options = parser.parse_args()
    figure, axes = plt.subplots(
        2, len(options.labels), figsize=(4.6 * len(options.labels), 5.4), squeeze=False, layout="constrained"
    )
    for column, path in enumerate(options.labels):
        draw((axes[0, column], axes[1, column]), *read_parts(path), path.name.split("_seg")[0])
    figure.savefig(options.output, dpi=80)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()

"""A handful of the prepared cases at a glance: a slice of each with the outlines of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nibabel.orientations import apply_orientation

from ..images.picture_file import is_picture
from ..volume.geometry import orientation_to_lps
from ..volume.io import read_volume, with_channels
from ..volume.windows import FULL_RANGE, limits_of

_COLUMNS, _ROWS = 4, 2
_WINDOW_HU = (-160.0, 240.0)
_COLORS = colormaps["tab20"].colors


def write_contact_sheet(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the picture: axial, the patient's right on the left, anterior on top.

    Args:
        records: of the prepared cases, see `prepared_case`; some, spread over the list, are shown.
        path: of the PNG.
    """
    shown = [records[index] for index in np.unique(np.linspace(0, len(records) - 1, _COLUMNS * _ROWS).astype(int))]
    names = sorted({part["name"] for record in shown for part in record["parts"]})
    colors = {name: _COLORS[number % len(_COLORS)] for number, name in enumerate(names)}
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 4.4 * rows + 0.6), layout="constrained", dpi=80)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        axis.set_axis_off()
        if number < len(shown):
            _draw(axis, shown[number], path.parent, colors)
    lines = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=6)
    figure.savefig(path)


def _draw(axis: Axes, record: dict[str, Any], folder: Path, colors: dict[str, Any]) -> None:
    label = nib.load(folder / record["label"])
    image, (low, high) = _shown(folder / record["image"])
    turn = orientation_to_lps(label.affine)
    parts = apply_orientation(np.asarray(label.dataobj), turn)
    index = int(np.argmax(np.count_nonzero(parts, axis=(0, 1))))
    voxels = apply_orientation(image, turn)[..., index]
    x_mm, y_mm, _ = np.linalg.norm(label.affine[:3, :3], axis=0)[np.argsort(turn[:, 0])]
    axis.imshow(voxels.T, cmap="gray", vmin=low, vmax=high, aspect=y_mm / x_mm)
    for part in record["parts"]:
        mask = parts[..., index].T == part["value"]
        if mask.any():
            axis.contour(mask, levels=[0.5], colors=[colors[part["name"]]], linewidths=1)
    axis.set_title(f"{record['case']}\n{record['axes']}, slice {index + 1} of {parts.shape[2]}", fontsize=9)


def _shown(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Voxels [X, Y, Z], and what of them is black and white; a coloured picture is shown grey."""
    if is_picture(path):
        voxels, _ = read_volume(path, intensity=FULL_RANGE)
        grey = with_channels(voxels).mean(axis=0)
        return grey, limits_of(voxels, FULL_RANGE)
    return np.asanyarray(nib.load(path).dataobj), _WINDOW_HU

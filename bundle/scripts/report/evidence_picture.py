"""The evidence picture: what was asked, what was answered, and where the mask lies, on one page.

Drawn at the resolution of the source volume, with the mask that is written, as a radiologist is used to seeing it: the
patient's right on the left of axial and coronal cuts, anterior on the left of sagittal ones, superior on top.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from nibabel.orientations import apply_orientation

from ..anchor import boxes_1000_to_px, points_1000_to_px
from ..volume.geometry import SliceGeometry
from ..volume.windows import HUWindow
from .evidence_record import marks_in_words

_BACKGROUND, _TEXT, _MUTED = "#14171c", "#e8eaed", "#8d96a3"
_MASK, _BOX, _TRUTH = "#2dd4bf", "#ff9f43", "#facc15"
_STRIP_LENGTH = 7
_MOST_LINES = {"query": 7, "reasoning": 7, "completion": 6}


def draw_evidence(
    volume: np.ndarray,
    mask: np.ndarray,
    geometry: SliceGeometry,
    record: Mapping[str, Any],
    *,
    window: tuple[float, float] = (-160.0, 240.0),
    truth: np.ndarray | None = None,
    scores: Mapping[str, float] | None = None,
    has_directions: bool = True,
) -> Figure:
    """Draws the picture; nothing is shown or written.

    Args:
        volume: [X, Y, Z] in HU, or in values of another modality, source voxel order; [X, Y, 1, 3] of a coloured
            image. Of one slice there are no cuts and no neighbours.
        mask: [X, Y, Z], nonzero is predicted.
        geometry: of the volume and its shown slices.
        record: the evidence, see `evidence_record`; `volume_ml` may be None where the spacing is not known.
        window: lower and upper value, drawn black and white.
        truth: [X, Y, Z], nonzero is the label, or None.
        scores: to print, by name ("DSC"); each a number in 0..1.
        has_directions: whether it is known where the patient's right and front are.
    """
    volume = apply_orientation(volume, geometry.orientation)
    predicted = np.asarray(apply_orientation(mask, geometry.orientation)) != 0
    true = None if truth is None else np.asarray(apply_orientation(truth, geometry.orientation)) != 0
    view = _View(volume, predicted, true, geometry, window)
    has_key = record["key_slice"] is not None
    key_index = record["key_slice"] - 1 if has_key else len(geometry.source_index) // 2
    figure = Figure(figsize=(15, 10), facecolor=_BACKGROUND, dpi=100)
    grid = GridSpec(
        3,
        3,
        figure,
        width_ratios=(1.35, 1, 1.15),
        height_ratios=(1, 1, 0.62),
        left=0.02,
        right=0.985,
        top=0.955,
        bottom=0.02,
        wspace=0.06,
        hspace=0.14,
    )
    marks = ("R", "L", "A", "P") if has_directions else ()
    if volume.shape[2] == 1:
        _draw_key_slice(figure.add_subplot(grid[:, :2]), view, key_index, record, marks)
    else:
        _draw_key_slice(figure.add_subplot(grid[:2, 0]), view, key_index, record, marks)
        row, column = _cut_through(predicted)
        key_z = int(geometry.source_index[key_index]) if has_key else None
        view.coronal(figure.add_subplot(grid[0, 1]), row, key_z)
        view.sagittal(figure.add_subplot(grid[1, 1]), column, key_z)
        _draw_strip(figure, grid[2, :], view, key_index, has_key)
    _write_text(figure.add_subplot(grid[:2, 2]), record, scores or {})
    return figure


def save_evidence(figure: Figure, path: str | Path) -> None:
    """Writes the picture as PNG."""
    with warnings.catch_warnings():
        # A query may hold characters that the font lacks; they are drawn as boxes, and the JSON holds the text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, format="png", facecolor=figure.get_facecolor())


class _View:
    """An LPS volume with its masks, and cuts through it.

    Args:
        volume: [columns, rows, slices], or coloured with a last axis of 3; the axes run to the patient's left,
            posterior and superior.
        predicted: bool, same shape.
        true: bool, same shape, or None.
        geometry: gives the voxel's edges and the shown slices.
        window: lower and upper value, drawn black and white.
    """

    def __init__(
        self,
        volume: np.ndarray,
        predicted: np.ndarray,
        true: np.ndarray | None,
        geometry: SliceGeometry,
        window: tuple[float, float],
    ) -> None:
        self.volume, self.predicted, self.true = volume, predicted, true
        self.shown = geometry.source_index
        self.shown_xyxy_px = geometry.shown_xyxy_px
        self.window = window
        edges = np.linalg.norm(geometry.source_affine[:3, :3], axis=0)
        self.spacing_mm = edges[np.argsort(geometry.orientation[:, 0])]

    def axial(self, axes: Axes, z: int, marks: tuple[str, ...]) -> None:
        """One slice [rows, columns]."""
        cut = (slice(None), slice(None), int(z))
        self._cut(axes, cut, self.spacing_mm[1] / self.spacing_mm[0], marks, flip=False)

    def coronal(self, axes: Axes, row: int, key_z: int | None) -> None:
        """The plane of one row, superior on top, with a line where the key slice lies, if there is one."""
        cut = (slice(None), row, slice(None))
        self._cut(axes, cut, self.spacing_mm[2] / self.spacing_mm[0], ("R", "L", "S", "I"), flip=True)
        self._title_and_line(axes, "coronal", key_z)

    def sagittal(self, axes: Axes, column: int, key_z: int | None) -> None:
        """The plane of one column, superior on top, anterior on the left."""
        cut = (column, slice(None), slice(None))
        self._cut(axes, cut, self.spacing_mm[2] / self.spacing_mm[1], ("A", "P", "S", "I"), flip=True)
        self._title_and_line(axes, "sagittal", key_z)

    def _title_and_line(self, axes: Axes, name: str, key_z: int | None) -> None:
        axes.set_title(name, color=_MUTED, fontsize=10, pad=4)
        if key_z is not None:
            height = self.volume.shape[2] - 1 - key_z
            axes.axhline(height, color=_BOX, linewidth=0.9, linestyle=(0, (5, 4)), alpha=0.9)

    def _cut(self, axes: Axes, cut: tuple, aspect: float, marks: tuple[str, ...], flip: bool) -> None:
        image, predicted = np.swapaxes(self.volume[cut], 0, 1), self.predicted[cut].T
        true = None if self.true is None else self.true[cut].T
        if flip:
            image, predicted, true = image[::-1], predicted[::-1], None if true is None else true[::-1]
        low, high = self.window
        if image.ndim == 3:  # colours are drawn as they are
            image = HUWindow(self.window)(image)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bilinear")
        _overlay(axes, predicted, true)
        axes.set_axis_off()
        _orientation_marks(axes, marks)


def _overlay(axes: Axes, predicted: np.ndarray, true: np.ndarray | None) -> None:
    """Filled and outlined prediction, outlined label."""
    if predicted.any():
        red, green, blue = (int(_MASK[i : i + 2], 16) / 255 for i in (1, 3, 5))
        filled = np.zeros((*predicted.shape, 4))
        filled[predicted] = (red, green, blue, 0.32)
        axes.imshow(filled, aspect=axes.get_aspect(), interpolation="nearest")
        _outline(axes, predicted, _MASK, "solid")
    if true is not None and true.any():
        _outline(axes, true, _TRUTH, "dashed")


def _outline(axes: Axes, mask: np.ndarray, color: str, style: str) -> None:
    """The edge of a mask, also where it runs along the edge of the picture."""
    rows, columns = mask.shape
    x, y = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
    axes.contour(x, y, np.pad(mask, 1), levels=[0.5], colors=color, linewidths=1.1, linestyles=style)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _orientation_marks(axes: Axes, marks: tuple[str, ...]) -> None:
    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"), (0.5, 0.985, "center", "top"))
    for mark, (x, y, horizontal, vertical) in zip(marks, (*places, (0.5, 0.015, "center", "bottom")), strict=False):
        text = axes.text(x, y, mark, color=_TEXT, fontsize=9, ha=horizontal, va=vertical, transform=axes.transAxes)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="black")])  # legible on bone


def _cut_through(predicted: np.ndarray) -> tuple[int, int]:
    """Row and column with the most predicted voxels; the middle of the volume when there are none."""
    if not predicted.any():
        return predicted.shape[1] // 2, predicted.shape[0] // 2
    return int(predicted.sum(axis=(0, 2)).argmax()), int(predicted.sum(axis=(1, 2)).argmax())


def _draw_key_slice(axes: Axes, view: _View, key_index: int, record: Mapping[str, Any], marks: tuple[str, ...]) -> None:
    view.axial(axes, view.shown[key_index], marks)
    left, top, right, bottom = view.shown_xyxy_px
    boxes = boxes_1000_to_px(record["boxes_1000"], bottom - top, right - left) + (left, top, left, top)
    # imshow puts pixel centres on whole numbers.
    for x1, y1, x2, y2 in boxes - 0.5:
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=_BOX, linewidth=2))
    for of_object in record.get("points_1000", ()):
        x, y = (points_1000_to_px(of_object, bottom - top, right - left) + (left, top) - 0.5).T
        axes.plot(x, y, "o", color=_BOX, markeredgecolor="black", markersize=7)
    axes.set_anchor("N")
    named = "key slice" if record["key_slice"] is not None else "no key slice; the middle one,"
    title = "the image" if view.volume.shape[2] == 1 else f"{named} {key_index + 1} of {len(view.shown)}"
    axes.set_title(title, color=_TEXT, fontsize=12, pad=6)


def _draw_strip(figure: Figure, place: Any, view: _View, middle: int, is_key: bool) -> None:
    count = min(_STRIP_LENGTH, len(view.shown))
    first = min(max(middle - count // 2, 0), len(view.shown) - count)
    strip = place.subgridspec(1, count, wspace=0.04)
    for position, index in enumerate(range(first, first + count)):
        axes = figure.add_subplot(strip[0, position])
        view.axial(axes, view.shown[index], marks=("R",))
        color = _BOX if is_key and index == middle else _MUTED
        axes.set_title(f"slice {index + 1}", color=color, fontsize=10, pad=3)


def _write_text(axes: Axes, record: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """Query, reasoning and answer, from top to bottom. `parse_math=False`: a `$` in a query is a dollar sign."""
    axes.set_axis_off()
    blocks = [("QUERY", _lines(record["query"], "query"), _TEXT, 13)]
    if record["think"]:
        blocks.append(("REASONING", _lines(record["think"], "reasoning"), _TEXT, 11))
    blocks.append(("ANSWER", _answer_lines(record), _TEXT, 11))
    if record["key_slice"] is None:
        blocks.append(("COMPLETION", _lines(record["completion"], "completion"), _MUTED, 9))
    if scores:
        line = "    ".join(f"{name} {value:.3f}" for name, value in scores.items())
        blocks.append(("AGAINST THE LABEL", [line], _TRUTH, 13))
    y = 1.0
    for heading, lines, color, size in blocks:
        y = _write_line(axes, y, heading, _MUTED, 9)
        for line in lines:
            y = _write_line(axes, y, line, color, size)
        y -= 0.025
    legend = [("box of the answer", _BOX), ("mask", _MASK)] + [("label", _TRUTH)] * bool(scores)
    for x, (name, color) in zip((0, 0.38, 0.58), legend, strict=False):
        axes.text(x, 0.0, f"\u25a0 {name}", color=color, fontsize=10, transform=axes.transAxes)


def _write_line(axes: Axes, y: float, line: str, color: str, size: int) -> float:
    axes.text(0, y, line, color=color, fontsize=size, va="top", transform=axes.transAxes, parse_math=False)
    return y - 0.0027 * size


def _lines(text: str, kind: str) -> list[str]:
    """Wrapped, at most so many lines; the JSON file holds all of it."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    width = {"query": 48, "reasoning": 56, "completion": 66}[kind]
    lines = textwrap.wrap(printable, width) or [""]
    most = _MOST_LINES[kind]
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: width - 1] + "\u2026"]


def _answer_lines(record: Mapping[str, Any]) -> list[str]:
    lines = [f"status: {record['status']}"]
    if record["key_slice"] is not None:
        key, shown, source = record["key_slice"], record["slices_shown"], record["source_slice"]
        lines.append(f"key slice {key} of {shown} (source slice {source})")
        lines.append(marks_in_words(record))
    millilitres = "" if record["volume_ml"] is None else f", {record['volume_ml']:.1f} ml"
    lines.append(f"{record['voxels']:,} voxels{millilitres}")
    return lines

"""The prompts of each kind, and the table's rows, with a propagator that fills boxes and points."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from medvol_r1.slice_prompt import SlicePrompt

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from prompt_kinds import KINDS, MarkedSlice, measured, true_prompts  # noqa: E402

TRUTH = np.zeros((1, 20, 20), dtype=bool)
TRUTH[0, 2:6, 4:14] = True


class Filled:
    """Fills the boxes and the pixels of points."""

    def masks(self, slices, anchors):
        found = []
        for _, boxes, points in anchors:
            mask = torch.zeros(slices.shape, dtype=torch.bool)
            for x1, y1, x2, y2 in np.array(boxes, dtype=int).reshape(-1, 4):
                mask[0, y1:y2, x1:x2] = True
            for x, y in (point for own in points for point in own):
                mask[0, int(y), int(x)] = True
            found.append(mask)
        return found


def test_the_same_marks_by_kind():
    prompts = true_prompts(TRUTH)
    both = prompts["box and points"]
    assert tuple(prompts) == KINDS and both.boxes_xyxy_px == ((4.0, 2.0, 14.0, 6.0),)
    assert prompts["box"] == SlicePrompt(0, both.boxes_xyxy_px)
    assert prompts["points"] == SlicePrompt(0, (), both.points_xy_px) and len(both.points_xy_px[0]) == 2


def test_rows_by_name_and_empty_masks_left_out():
    slices = np.zeros(TRUTH.shape, np.float32)
    marked = [MarkedSlice("a", slices, TRUTH), MarkedSlice("b", slices, np.zeros_like(TRUTH))]
    rows = measured(Filled(), iter(marked))
    # The box is the structure; two of its 40 pixels are 2 * 2 / (2 + 40).
    assert list(rows) == ["a"] and rows["a"] == [{"box": 1.0, "points": pytest.approx(4 / 42), "box and points": 1.0}]

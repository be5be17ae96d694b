"""A target, answers about it, and propagators that repeat what they are given.

The target lies on slices 3..8 of 12 (0-based): A on all of them, on slice 5 also B. A slice has 20 rows and 40 columns,
so a pixel is 25 units of the text wide and 50 high: A is 8 x 4 pixels, x 200..400 and y 200..400; B has the same size.
"""

import numpy as np
import torch
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.rewards import AxialReward, CompositeReward, ConsistencyReward, FormatReward, SpatialReward

SHAPE = (12, 20, 40)
A, B = (200, 200, 400, 400), (600, 600, 800, 800)
FAR = (0, 0, 100, 100)  # overlaps neither
SLICES = np.ones(SHAPE, dtype=np.float32)
EMPTY = np.zeros(SHAPE, dtype=bool)
ON_A, ON_B, NOWHERE = ((300, 300), (250, 250)), ((700, 700),), ((500, 500), (50, 50))


def _target():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:9, 4:8, 8:16] = True
    mask[5, 12:16, 24:32] = True
    return mask


TARGET = _target()


class Repeat:
    """A propagator that repeats each box on every slice of the window where the volume is bright; it keeps a log."""

    def __init__(self):
        self.encoded, self.calls = [], []

    def encode(self, slices):
        self.encoded.append(slices)
        return slices

    def mask(self, slices, key_index, boxes_xyxy_px, window=None):
        self.calls.append((key_index, [tuple(box) for box in boxes_xyxy_px.tolist()], window))
        out = np.zeros(np.shape(slices), dtype=bool)
        for x1, y1, x2, y2 in boxes_xyxy_px.astype(int):
            out[max(0, key_index - window) : key_index + window + 1, y1:y2, x1:x2] = True
        return torch.as_tensor(out) & (torch.as_tensor(slices) > 0.5)


class RepeatPointed(Repeat):
    """Notes the points of each call as well, and marks the pixel of each point on the key slice."""

    def __init__(self):
        super().__init__()
        self.pointed = []

    def mask(self, slices, key_index, boxes_xyxy_px, window=None, points_xy_px=()):
        self.pointed.append(points_xy_px)
        out = super().mask(slices, key_index, boxes_xyxy_px, window)
        for x, y in (point for of_object in points_xy_px for point in of_object):
            out[key_index, min(int(y), 19), min(int(x), 39)] = True  # far edges are on the last pixel
        return out


def answer(key_slice, *boxes):
    """A completion; the key slice is 1-based."""
    return format_completion(EvidenceAnchor(key_slice - 1, boxes), "Look.")


def pointed(key_slice, boxes, points):
    anchor = EvidenceAnchor(key_slice - 1, tuple(boxes), tuple(points))
    return format_completion(anchor, "Look.", form="boxes_and_points")


def raw(json_text, think="<think>Look.</think>"):
    return f"{think}<answer>{json_text}</answer>"


def one(reward, text, mask=TARGET):
    (value,) = reward(completions=[text], masks=[mask], slices=[SLICES])
    assert isinstance(value, float)
    return value


def all_four(delta=5):
    return CompositeReward(
        terms={
            "R_f": FormatReward(),
            "R_a": AxialReward(),
            "R_s": SpatialReward(),
            "R_c": ConsistencyReward(propagator=Repeat(), delta=delta),
        },
        weights=dict.fromkeys(("R_f", "R_a", "R_s", "R_c"), 1.0),
    )


def terms_of(text, mask=TARGET):
    """{R_f, R_a, R_s, R_c} of one completion."""
    record = all_four().record(completions=[text], masks=[mask], slices=[SLICES])
    return {name: value for name, (value,) in record.terms.items()}

"""The evidence anchor: what the language model answers, and how text becomes one and back.

The model writes `<think>...</think><answer>{"key_slice": k, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>`
(paper, Sec. 2.4 and 2.5, R_f). In text the key slice is 1-based among the shown slices, boxes and points are whole
numbers from 0 to 1000 across the slice; in code the slice is a 0-based `key_index`.
"""

from .answer import (
    ANSWER_FORMS,
    ANSWER_KEYS,
    IMAGE_KEYS,
    POINTS_KEY,
    AnswerForm,
    format_completion,
    parse_answer,
    parse_completion,
    split_think,
)
from .codec import boxes_1000_to_px, boxes_px_to_1000, points_1000_to_px, points_px_to_1000
from .evidence_anchor import BOX_SCALE, FAILURE_REASONS, MAX_BOXES, MAX_POINTS, Box, EvidenceAnchor, ParseFailure, Point

__all__ = [
    "ANSWER_FORMS",
    "ANSWER_KEYS",
    "BOX_SCALE",
    "FAILURE_REASONS",
    "IMAGE_KEYS",
    "MAX_BOXES",
    "MAX_POINTS",
    "POINTS_KEY",
    "AnswerForm",
    "Box",
    "EvidenceAnchor",
    "ParseFailure",
    "Point",
    "boxes_1000_to_px",
    "boxes_px_to_1000",
    "format_completion",
    "parse_answer",
    "parse_completion",
    "points_1000_to_px",
    "points_px_to_1000",
    "split_think",
]

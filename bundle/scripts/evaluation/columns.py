"""The columns of `per_query.csv`. Definitions: bundle/docs/evaluation.md."""

from __future__ import annotations

BOUNDS = (
    *("oracle_anchor", "oracle_boxes", "prior"),
    *("true_box", "true_points", "true_marks", "answer_box", "answer_points"),
)
"""What a prediction is compared with, see `bounds`."""

DESCRIPTION = ("target", "type", "implicitness", "laterality", "paraphrase_group")
MARKS = ("marks_iou", "point_dice")
GROUNDING = ("key_holds_target", "key_offset_mm", "R_a", "box_iou", *MARKS)
COLUMNS = (
    *("case", "patient", "subset", *DESCRIPTION, "query", "image"),
    *("status", "error", "format_ok", "present", "DSC", "IoU", "NSD", "HD95_mm", "true_ml", "pred_ml", "shared_ml"),
    *("slice_thickness_mm", "key_slice", *GROUNDING, "swapped"),
    *(f"{bound}_{score}" for bound in BOUNDS for score in ("DSC", "IoU")),
    *("agreement", "seconds"),
)
"""Keys of a row; one that says nothing of the query at hand is None."""

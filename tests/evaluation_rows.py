"""Rows of an evaluation for tests, with the keys that `query_scores` gives."""

from medvol_r1.evaluation.columns import COLUMNS


def row(case, dsc, **changes):
    """A row of a present target; `dsc` None makes an absent one."""
    present = dsc is not None
    plain = dict.fromkeys(COLUMNS) | {
        "case": case,
        "patient": "p1",
        "subset": "organs",
        "target": "liver",
        "type": "A",
        "implicitness": 0,
        "laterality": "none",
        "query": f"query {case}",
        "image": "a.nii.gz",
        "status": "ok",
        "error": False,
        "format_ok": True,
        "present": present,
        "true_ml": 100.0 if present else 0.0,
        "pred_ml": 0.0,
        "shared_ml": 0.0,
        "slice_thickness_mm": 2.0,
        "key_slice": 3,
        "DSC": dsc,
    }
    if present:
        plain |= {"IoU": dsc / (2 - dsc), "NSD": dsc, "key_holds_target": True, "R_a": 1.0, "box_iou": 0.5}
    return plain | changes

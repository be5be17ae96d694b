from medvol_r1.evaluation.columns import BOUNDS, COLUMNS, DESCRIPTION, GROUNDING
from medvol_r1.evaluation.volume_metrics import VolumeScores


def test_a_row_has_each_column_once_and_all_that_is_measured():
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert {*DESCRIPTION, *GROUNDING, *VolumeScores._fields} <= set(COLUMNS)
    assert {f"{bound}_{score}" for bound in BOUNDS for score in ("DSC", "IoU")} <= set(COLUMNS)

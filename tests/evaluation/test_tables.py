import re

from evaluation_rows import row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.statistics import statistics
from medvol_r1.evaluation.tables import interval, plain, summary_tables, table

BOOTSTRAP = ClusterBootstrap(20)


def test_an_interval_in_words():
    assert interval({"value": 0.5, "low": 0.25, "high": 0.75, "n": 3}) == "0.500 [0.250, 0.750]"
    assert interval({"value": 12.34, "low": None, "high": None, "n": 1}, 1) == "12.3"
    assert interval({"value": None, "low": None, "high": None, "n": 0}) == plain({"value": None}) == "-"


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert table(["a"], [["x|y"]]).splitlines()[2] == "| x&#124;y |"


def test_every_row_of_the_tables_fits_its_header():
    bounds = {"oracle_anchor_DSC": 0.9, "oracle_anchor_IoU": 0.8, "prior_DSC": 0.4, "prior_IoU": 0.3}
    rows = [row("a", 0.5, **bounds), row("b", 0.7, subset="renal", patient="p2", **bounds), row("h", None, pred_ml=1.0)]
    text = summary_tables(statistics(rows, BOOTSTRAP))
    grids = [part for part in text if part.startswith("|")]
    assert len(grids) == 13
    for grid in grids:
        assert len({line.count(" | ") for line in grid.splitlines()}) == 1, grid
    assert "| DSC, macro | oracle anchor | prior | prediction |" in text[text.index("### Bounds") + 1]
    assert "| DSC, mean | oracle anchor | prior | prediction |" in text[text.index("### Bounds") + 2]
    assert "| all | 0.900 | 0.400 | 0.600 |" in re.sub(r" \[[^]]*]", "", text[text.index("### Bounds") + 2])
    absent = text[text.index("## Targets that are not there") + 1]
    assert "| all | 1 | 1.000 | 0.000 | 0.000 | 1.0 |" in absent


def test_without_subsets_the_tables_have_one_row():
    text = summary_tables(statistics([row("a", 0.5, subset=None)], BOOTSTRAP))
    assert text[1].splitlines()[2].startswith("| all | 1 | 0.500") and len(text[1].splitlines()) == 3


def test_every_table_of_masks_has_both_means():
    # DSC of the targets: liver 0.2 and 0.4, spleen 0.9. Over queries 1.5 / 3 = 0.5, over targets (0.3 + 0.9) / 2 = 0.6.
    rows = [row("a", 0.2), row("b", 0.4), row("c", 0.9, target="spleen")]
    text = summary_tables(statistics(rows, BOOTSTRAP))
    assert text[1].splitlines()[2].startswith("| all | 3 | 0.600 | ") and "| 0.500 | " in text[1]
    kinds = text[text.index("### Query type") + 1].splitlines()
    assert kinds[0].startswith("| query type | n | DSC, mean | DSC, macro |")
    assert kinds[2].startswith("| A | 3 | 0.500 | 0.600 |")


def test_boxes_points_and_masks_of_images_by_kind_beside_what_is_published():
    marked = {"marks_iou": 0.5, "point_dice": 0.25, "answer_box_DSC": 0.4, "answer_box_IoU": 0.3}
    lost = {"marks_iou": 0.0, "point_dice": 0.0, "answer_box_DSC": 0.0, "answer_box_IoU": 0.0}
    rows = [row("a", 0.8, type="CT", **marked), row("b", 0.0, type="MRI", patient="p2", **lost)]
    text = summary_tables(statistics(rows, BOOTSTRAP))
    place = text.index("### Box, points and mask")
    ours = [re.sub(r" \[[^]]*]", "", line) for line in text[place + 1].splitlines()]
    assert ours[0] == "| queries | n | box IoU | pDice | DSC, box and points | DSC, box alone | DSC, points alone |"
    # A failure counts 0: (0.5 + 0) / 2 and so on.
    assert ours[2:] == [
        "| all | 2 | 0.250 | 0.125 | 0.400 | 0.200 | - |",
        "| type `CT` | 1 | 0.500 | 0.250 | 0.800 | 0.400 | - |",
        "| type `MRI` | 1 | 0.000 | 0.000 | 0.000 | 0.000 | - |",
    ]
    assert "| MedReasoner-7B | 32.42 | 26.55 | 37.78 |" in text[place + 2]
    assert "### Box, points and mask" not in summary_tables(statistics([row("a", 0.5)], BOOTSTRAP))

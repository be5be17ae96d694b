"""Tables and curves of the experiments on single images, from results made by hand."""

import csv
import sys
from pathlib import Path

import pytest
from medvol_r1.evaluation.bootstrap import ClusterBootstrap

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from image_tables import draw_image_curves, image_tables  # noqa: E402
from reproduction_results import MARKS, SCORES, evaluation_result  # noqa: E402

BOOTSTRAP = ClusterBootstrap(samples=100)
PLANNED = ["cold", "grpo_long", "fresh_cold", "fresh_grpo_long", "fresh_sft_equal"]
COLUMNS = ["volume", "subset", "present", *SCORES, *MARKS, "absent", "masked_absent", "modality"]


def evaluation(*images):
    """Of (image, modality, box IoU, DSC); an image has one question."""
    rows = [
        [name, "abdominal organ", 1, dsc, 0, 0, 0, 1, iou, 0.25, dsc, 0, 0, modality]
        for name, modality, iou, dsc in images
    ]
    return {"kind": "evaluation", "columns": COLUMNS, "rows": rows}


@pytest.fixture
def results():
    curves = {"box_iou": [[150, 0.25], [300, 0.5]], "reward/total": [[1, 0.0]]}
    return {
        "cold": {"kind": "training", "cpu_minutes": 3.84, "curves": curves},
        "grpo_long": {"kind": "training", "cpu_minutes": 28.0, "curves": curves},
        "fresh_cold": evaluation(("a", "CT", 0.25, 0.5), ("b", "PET", 0.75, 0.5)),
        "fresh_grpo_long": evaluation(("a", "CT", 0.5, 0.75), ("b", "PET", 1.0, 0.75)),
    }


def test_scores_differences_and_groups_stand_in_tables(results):
    text = image_tables(results, BOOTSTRAP, PLANNED)
    points, one = "0.250 [0.250, 0.250]", "1.000 [1.000, 1.000]"
    # Box IoU (.25 + .75) / 2; its interval over two images is that of one or the other.
    assert (
        f"| cold start | 3.8 | 0.500 [0.250, 0.750] | {points} | 0.500 [0.500, 0.500] | 0.500 [0.500, 0.500] | {one} |"
        in text
    )
    # Each image gains .25.
    zero = "0.000 [0.000, 0.000]"
    cells = f"| {points} | {zero} | {points} | {points} | {zero} |"
    assert f"| GRPO, longer: the model that is shipped - cold start {cells}" in text
    assert "| `PET` | 1 | 0.750 | 1.000 |" in text and "| `abdominal organ` | 2 | 0.500 [" in text
    assert "| SFT continued, as long as GRPO | - | not run yet |" in text


def test_curves_are_those_of_trainings_from_the_cold_start(results):
    axes = draw_image_curves(results).axes
    assert [len(panel.lines) for panel in axes] == [0, 0, 0, 1]
    assert axes[3].lines[0].get_xydata().tolist() == [[0.5, 0.25], [1.0, 0.5]]


def test_an_evaluation_of_images_keeps_their_marks_and_modality(tmp_path):
    columns = ["patient", "subset", "type", "present", *SCORES, *MARKS, "pred_ml", "prior_DSC"]
    rows = [
        ["a", "fundus", "X-ray", "True", "", "", "", "", "False", "", "", "", "", ""],  # no answer
        ["b", "fundus", "CT", "True", 0.5, 0.25, 1.0, 0.5, "True", 0.75, 0.5, 0.25, 3.0, ""],
    ]
    with (tmp_path / "per_query.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    result = evaluation_result(tmp_path)
    assert result["columns"] == COLUMNS
    assert result["rows"] == [
        ["a", "fundus", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "X-ray"],
        ["b", "fundus", 1, 0.5, 0.25, 1.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0, 0, "CT"],
    ]

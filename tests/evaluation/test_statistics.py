"""Tables of small evaluations, with the arithmetic shown."""

import pytest
from evaluation_rows import row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.statistics import absent_block, present_block, statistics

BOOTSTRAP = ClusterBootstrap(50)


def value(rows, key):
    return present_block(rows, BOOTSTRAP)[key]["value"]


def test_macro_mean_and_plain_mean():
    rows = [row("a", 0.8), row("b", 0.6), row("c", 0.2, target="spleen")]
    assert value(rows, "DSC_macro") == pytest.approx(((0.8 + 0.6) / 2 + 0.2) / 2)
    assert value(rows, "DSC_mean") == pytest.approx(1.6 / 3)


def test_three_ways_to_a_single_iou_differ():
    # IoU of each: 1 and 0.2 / 1.8. DSC of each 1 and 0.2, mean 0.6.
    rows = [
        row("a", 1.0, true_ml=10.0, pred_ml=10.0, shared_ml=10.0),
        row("b", 0.2, true_ml=90.0, pred_ml=90.0, shared_ml=18.0),
    ]
    assert value(rows, "IoU_mean") == pytest.approx((1 + 0.2 / 1.8) / 2)
    assert value(rows, "IoU_implied_by_DSC_mean") == pytest.approx(0.6 / 1.4)
    assert value(rows, "DSC_pooled") == pytest.approx(2 * 28 / 200)
    assert value(rows, "IoU_pooled") == pytest.approx(28 / (200 - 28))


def test_failures_count_as_zero_and_are_counted():
    lost = {"DSC": 0.0, "IoU": 0.0, "NSD": 0.0, "R_a": 0.0, "box_iou": 0.0, "key_holds_target": False}
    rows = [
        row("a", 0.9),
        row("b", 0.0, status="missing_tag", format_ok=False, key_slice=None, **lost | {"DSC": 0.0}),
        row("c", 0.0, status="missing_file", error=True, format_ok=False, true_ml=None, **lost | {"DSC": 0.0}),
    ]
    found = statistics(rows, BOOTSTRAP)
    assert found["present"]["DSC_mean"]["value"] == pytest.approx(0.3) and found["present"]["n"] == 3
    assert found["present"]["format_rate"]["value"] == pytest.approx(1 / 3)
    assert found["present"]["R_a"]["value"] == pytest.approx(1 / 3)
    assert (found["counts"]["errors"], found["counts"]["not_parsed"]) == (1, 1)
    assert found["counts"]["status"] == {"missing_file": 1, "missing_tag": 1, "ok": 1}


def test_absent_targets_are_in_a_table_of_their_own():
    rows = [
        row("a", 0.5),
        row("h1", None, pred_ml=12.0),
        row("h2", None, status="absent"),
        row("h3", None, status="invalid_json", format_ok=False),
        row("h4", None, pred_ml=2.0),
    ]
    found = statistics(rows, BOOTSTRAP)
    assert found["present"]["DSC_mean"] == {"value": 0.5, "low": None, "high": None, "n": 1}
    absent = found["absent"]
    assert absent["n"] == 4 and absent["false_positive_rate"]["value"] == 0.5
    assert absent["called_absent"]["value"] == absent["no_answer"]["value"] == 0.25
    assert absent["false_positive_ml_median"] == 7.0
    assert list(absent["by"]["subset"]) == ["organs"]


def test_hd95_is_a_mean_of_defined_values_with_the_number_of_the_others():
    block = present_block([row("a", 0.5, HD95_mm=4.0), row("b", 0.0), row("c", 0.5, HD95_mm=8.0)], BOOTSTRAP)
    assert block["HD95_mm_mean"]["value"] == 6.0 and block["HD95_undefined"] == 1


def test_quartiles():
    block = present_block([row(str(dsc), dsc) for dsc in (0, 0.25, 0.5, 0.75, 1)], BOOTSTRAP)
    assert block["DSC_quartiles"] == [0.25, 0.5, 0.75]


def test_swaps_are_counted_where_there_is_another_side():
    rows = [row("a", 0.1, swapped=True), row("b", 0.9, swapped=False), row("c", 0.9), row("d", 0.9, swapped=False)]
    rate = present_block(rows, BOOTSTRAP)["laterality_swap_rate"]
    assert rate["n"] == 3 and rate["value"] == pytest.approx(1 / 3)


def test_paraphrases_are_wordings_of_one_target_in_one_volume():
    rows = [
        row("a", 0.9),
        row("b", 0.5),
        row("c", 0.1, image="b.nii.gz"),  # alone in its volume
        row("d", 0.8, target="spleen"),
        row("e", 0.8, target="spleen"),
        row("f", 0.3, target="bladder", query="same words"),
        row("g", 0.3, target="bladder", query="same words"),  # not another wording
    ]
    block = present_block(rows, BOOTSTRAP)
    assert block["paraphrase_DSC_mean"]["n"] == 2
    assert block["paraphrase_DSC_mean"]["value"] == pytest.approx((0.7 + 0.8) / 2)
    assert block["paraphrase_DSC_worst"]["value"] == pytest.approx((0.5 + 0.8) / 2)


@pytest.mark.parametrize(
    "key, changes, expected",
    [
        ("subset", [{"subset": "renal"}, {}, {"subset": None}], {"organs": 1, "renal": 1}),
        ("type", [{"type": "G"}, {"type": "B"}, {"type": "B"}], {"B": 2, "G": 1}),
        ("implicitness", [{"implicitness": 3}, {"implicitness": 0}, {"implicitness": 3}], {"0": 1, "3": 2}),
        ("laterality", [{"laterality": "left"}, {}, {}], {"left": 1, "none": 2}),
        ("target", [{"target": "cyst"}, {}, {}], {"cyst": 1, "liver": 2}),
        (
            "size",
            [{"true_ml": 100.0}, {"true_ml": 99.9}, {"true_ml": 0.5}],
            {"< 1 ml": 1, "10-100 ml": 1, "100-1000 ml": 1},
        ),
        (
            "slice_thickness",
            [{"slice_thickness_mm": 5.0}, {"slice_thickness_mm": 1.0}, {}],
            {"< 1.5 mm": 1, "1.5-3 mm": 1, ">= 5 mm": 1},
        ),
    ],
)
def test_breakdowns(key, changes, expected):
    rows = [row(str(n), 0.5, **change) for n, change in enumerate(changes)]
    found = statistics(rows, BOOTSTRAP)["present"]["by"][key]
    assert {name: block["n"] for name, block in found.items()} == expected
    assert list(found) == list(expected)


def test_bounds_are_there_when_they_were_computed():
    bounds = {"oracle_anchor_DSC": 0.9, "oracle_anchor_IoU": 0.8}
    block = present_block(
        [row("a", 0.5, **bounds), row("b", 0.5, target="x", oracle_anchor_DSC=0.7, oracle_anchor_IoU=0.6)], BOOTSTRAP
    )
    assert block["oracle_anchor_DSC_macro"]["value"] == pytest.approx(0.8)
    assert block["oracle_anchor_IoU_mean"]["value"] == pytest.approx(0.7)
    assert "prior_DSC_macro" not in block and "oracle_anchor_DSC_macro" not in present_block([row("a", 0.5)], BOOTSTRAP)


def test_nothing_at_all():
    assert present_block([], BOOTSTRAP)["DSC_macro"]["value"] is None
    assert absent_block([], BOOTSTRAP)["false_positive_rate"]["value"] is None
    assert statistics([row("a", None, present=None)], BOOTSTRAP)["counts"]["unlabelled"] == 1

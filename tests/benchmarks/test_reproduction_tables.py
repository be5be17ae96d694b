"""The tables of the small experiments, from results made by hand."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from experiment_plan import read_plan  # noqa: E402
from reproduction import COLLECTORS, write_tables  # noqa: E402
from reproduction_results import SCORES, evaluation_result, gap_result, thinned, training_result  # noqa: E402
from reproduction_tables import Comparison, MismatchError, all_tables, draw_curves  # noqa: E402
from run_queue import RunQueue  # noqa: E402

COLUMNS = ["volume", "subset", "present", *SCORES, "absent", "masked_absent"]
BOOTSTRAP = ClusterBootstrap(samples=200)


def evaluation(*volumes):
    """Of (volume, subset, queries, sum of DSC); the sums of all other scores are 0."""
    rows = [[name, subset, count, dsc, *[0.0] * (len(SCORES) - 1), 0, 0] for name, subset, count, dsc in volumes]
    return {"kind": "evaluation", "columns": COLUMNS, "rows": rows}


def training(minutes, reward=1.0):
    curves = {"reward/total": [[1, 0.0], [10, reward]], "R_a": [[10, 0.5]]}
    return {"kind": "training", "cpu_minutes": minutes, "steps": 10, "curves": curves}


RESULTS = {
    # Queries 2 + 1 in `organs`, 1 in `renal`.
    "greedy_cold_0": evaluation(("a", "organs", 2, 1.0), ("b", "organs", 1, 0.5), ("c", "renal", 1, 0.1)),
    "greedy_cold_1": evaluation(("a", "organs", 2, 1.2), ("b", "organs", 1, 0.6), ("c", "renal", 1, 0.3)),
    "greedy_grpo_0": evaluation(("a", "organs", 2, 1.4), ("b", "organs", 1, 0.7), ("c", "renal", 1, 0.4)),
    "greedy_grpo_1": evaluation(("a", "organs", 2, 1.4), ("b", "organs", 1, 0.5), ("c", "renal", 1, 0.7)),
    "grpo_0": training(30.0),
    "score_delta_2_0": evaluation(("a", "organs", 2, 1.4)),
    "score_no_rs_0": evaluation(("a", "organs", 2, 1.0)),
    "ablation_no_rs_0": training(12.5, reward=2.5),
}


def comparison():
    return Comparison({name: one for name, one in RESULTS.items() if one["kind"] == "evaluation"}, BOOTSTRAP)


@pytest.mark.parametrize(
    "subset, value",
    [
        ("organs", (1.0 + 0.5 + 1.2 + 0.6) / 6),  # all queries of both seeds
        ("renal", (0.1 + 0.3) / 2),
        (None, (1.0 + 0.5 + 0.1 + 1.2 + 0.6 + 0.3) / 8),
    ],
)
def test_a_score_is_the_mean_over_queries_and_seeds(subset, value):
    score = comparison().score(["greedy_cold_0", "greedy_cold_1"], "DSC", subset)
    assert score["value"] == pytest.approx(value, abs=1e-12)


def test_a_difference_is_paired_by_query_and_seed():
    pairs = [("greedy_cold_0", "greedy_grpo_0"), ("greedy_cold_1", "greedy_grpo_1")]
    estimate = comparison().difference(pairs, "DSC", "organs")
    # Seed 0: .4 + .2 over 3 queries; seed 1: .2 - .1 over 3.
    assert estimate["value"] == pytest.approx((0.6 + 0.1) / 6, abs=1e-12)
    # Resampled volumes hold a, b, or both: (.4 + .2) / 4 with a alone, (.2 - .1) / 2 with b alone.
    assert estimate["low"] == pytest.approx(0.05) and estimate["high"] == pytest.approx(0.15)
    assert estimate["n"] == 2


def test_a_constant_gain_has_an_interval_of_no_width():
    one = evaluation(*((str(number), "renal", 1, number / 10) for number in range(9)))
    other = evaluation(*((str(number), "renal", 1, number / 10 + 0.05) for number in range(9)))
    estimate = Comparison({"x": one, "y": other}, BOOTSTRAP).difference([("x", "y")], "DSC", None)
    assert [estimate[key] for key in ("value", "low", "high")] == pytest.approx([0.05] * 3)


def test_other_queries_are_not_compared():
    results = {"x": evaluation(("a", "renal", 2, 1.0)), "y": evaluation(("a", "renal", 1, 1.0))}
    with pytest.raises(MismatchError, match="x and y were not scored on the same queries"):
        Comparison(results, BOOTSTRAP).difference([("x", "y")], "DSC", None)


def test_tables_show_what_is_there_and_say_what_is_not():
    text = all_tables(RESULTS, BOOTSTRAP, [*RESULTS, "score_no_rc_0", "score_delta_15_2"])
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}  # the last one of a name
    assert "| SFT, 1 epoch (cold start) | 2 | 0.550 [0.550, 0.550] |" in text
    # All seeds, .7 + (.1 + .3) + ... over 8 queries: (.6 + .3 + .1 + .4) / 8; each seed: .9 / 4 and .5 / 4.
    gain = next(
        line for line in text.splitlines() if line.startswith("| SFT + GRPO - SFT, 1 epoch (cold start) | DSC |")
    )
    assert "| 0.175 [" in gain and gain.endswith("| +0.225 / +0.125 |")
    assert "not run yet" in lines["SFT + GRPO - SFT, continued"]
    # .5 - .7 a query; 12.5 CPU minutes; the last reward.
    assert lines["without R_s"].endswith("| -0.200 | -0.200 | 10 | 12.5 | 2.500 |")
    assert "| without R_c | 0 | not run yet |" in text and "| Delta = 15 | 0 | not run yet |" in text
    assert "nan" not in text.lower()


def test_a_row_that_no_run_is_planned_for_is_left_out():
    text = all_tables(RESULTS, BOOTSTRAP, RESULTS)
    assert "without R_s" in text and "without R_c" not in text
    assert "Delta = 2" in text and "Delta = 5" not in text
    assert "What RL can still win" not in text


def test_the_gap_to_the_best_sample_is_a_mean_over_seeds(tmp_path):
    low, middle = {"R_a": 0.5, "R_s": 0.25, "R_c": 0.375}, {"R_a": 0.75, "R_s": 0.5, "R_c": 0.5}
    one = {"greedy": low, "best": middle, "samples": 8}
    other = {"greedy": middle, "best": {"R_a": 1.0, "R_s": 0.75, "R_c": 0.75}, "samples": 8}
    (tmp_path / "gap.json").write_text(json.dumps(one))
    results = {"gap_cold_0": {"kind": "gap", **gap_result(tmp_path)}, "gap_cold_2": {"kind": "gap", **other}}
    text = all_tables(results, BOOTSTRAP, [*results, "gap_grpo_0"])
    # Greedy R_a (.5 + .75) / 2 = .625, best (.75 + 1) / 2 = .875, ...
    assert "| SFT, 1 epoch (cold start) | 2 | 8 | 0.625 | 0.875 | 0.375 | 0.625 | 0.438 | 0.625 |" in text
    assert "| SFT + GRPO | 0 | not run yet |" in text


def test_nothing_at_all_is_a_table_too():
    text = all_tables({}, BOOTSTRAP, [run.name for run in read_plan(ROOT / "benchmarks" / "claim.json")])
    assert text.count("not run yet") > 40
    draw_curves({})


def test_curves_are_drawn_from_results():
    figure = draw_curves(RESULTS | {"ablation_rl_without_sft_0": training(1.0)})
    assert [len(axes.lines) for axes in figure.axes] == [0, 1, 1, 0]


def test_validation_curves_begin_where_the_cold_start_of_their_seed_ended():
    cold = {"kind": "training", "curves": {"R_a": [[1, 0.2], [3, 0.4]]}}
    axes = draw_curves(RESULTS | {"cold_0": cold, "cold_1": {"kind": "training", "curves": {}}}).axes[2]
    # GRPO has one validation, 0.5 at its end.
    assert axes.lines[0].get_xydata().tolist() == [[0.0, 0.4], [1.0, 0.5]]


def test_an_evaluation_is_kept_as_sums_over_the_queries_of_a_volume(tmp_path):
    columns = ["patient", "subset", "present", *SCORES, "pred_ml"]
    columns += ["oracle_anchor_DSC", "oracle_anchor_IoU", "prior_DSC", "prior_IoU"]
    rows = [
        ["p1", "organs", "True", 0.5, 0.25, 1.0, 0.5, "True", 3.0, 0.9, 0.8, "", ""],
        ["p1", "organs", "True", 0.0, 0.0, 0.0, 0.0, "False", "", 0.7, 0.6, "", ""],
        ["p1", "organs", "False", "", "", "", "", "True", 2.0, "", "", "", ""],
        ["p2", "renal", "False", "", "", "", "", "True", 0.0, "", "", "", ""],
    ]
    with (tmp_path / "per_query.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    result = evaluation_result(tmp_path)
    bounds = ["oracle_anchor_DSC", "oracle_anchor_IoU"]  # there is no prior
    assert result["columns"] == ["volume", "subset", "present", *SCORES, *bounds, "absent", "masked_absent"]
    # One of the two absent targets got a mask all the same.
    assert result["rows"] == [
        ["p1", "organs", 2, 0.5, 0.25, 1.0, 0.5, 1.0, 1.6, 1.4, 1, 1],
        ["p2", "renal", 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ]
    json.dumps(result, allow_nan=False)


def test_a_training_is_kept_as_thin_curves(tmp_path):
    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        for step in range(1, 101):
            writer.add_scalar("reward/total", step / 100, step)
            writer.add_scalar("speed/tokens_per_second", 1.0, step)
        writer.add_scalar("R_a", 0.5, 100)
        writer.add_scalar("absent_accuracy", float("nan"), 100)
    result = training_result(tmp_path)
    assert result["steps"] == 100
    assert set(result["curves"]) == {"reward/total", "R_a", "absent_accuracy"}
    # 100 values to 50 means of two neighbors: steps 1 and 2, rewards .01 and .02.
    assert len(result["curves"]["reward/total"]) == 50
    assert result["curves"]["reward/total"][0] == [1.5, 0.015]
    assert result["curves"]["R_a"] == [[100.0, 0.5]] and result["curves"]["absent_accuracy"] == []


def test_short_curves_are_kept_whole():
    assert thinned(np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 4.0]])) == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("name", ["reproduction", "claim", "umrg"])
def test_the_kept_results_still_belong_to_the_plan_and_make_the_kept_tables(name, tmp_path):
    docs = ROOT / "bundle" / "docs"
    plan, results = ROOT / "benchmarks" / f"{name}.json", docs / "results" / name
    queue = RunQueue(read_plan(plan), tmp_path, results, COLLECTORS)
    text = write_tables(queue, ClusterBootstrap(2000), name, None)
    rows = [line for line in (docs / "tables" / f"{name}.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) > 60 and set(rows) <= set(text.splitlines())

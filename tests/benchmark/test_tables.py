from evaluation_rows import row
from medvol_r1.benchmark.tables import benchmark_report, benchmark_row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.statistics import absent_block, present_block, statistics

BOOTSTRAP = ClusterBootstrap(20)


def block(rows, **refused):
    """The results of a system that answered all of its rows but those that are errors."""
    answered = [each for each in rows if not each["error"]]
    present = [each for each in answered if each["present"]]
    common = present_block(present, BOOTSTRAP)
    common["DSC_minus_first"] = BOOTSTRAP.mean([each["patient"] for each in present], [0.25] * len(present))
    return statistics(rows, BOOTSTRAP) | {
        "answered": present_block(present, BOOTSTRAP),
        "absent_answered": absent_block([each for each in answered if not each["present"]], BOOTSTRAP),
        "common": common,
        "refused": refused,
        "resampled": 1,
    }


ROWS = [row("a", 0.5), row("b", 1.0, target="spleen"), row("h", None, pred_ml=2.0)]
LOST = [row("a", 0.0, error=True), row("b", 0.0, target="spleen", error=True), row("h", None, error=True)]


def results():
    refused = {"missing_mask": {"n": 3, "first": "there is no a|b\nanywhere"}}
    return {"tolerance_mm": 2.0, "systems": {"good": block(ROWS), "lost": block(LOST, **refused)}}


def test_a_row_of_the_csv():
    line = benchmark_row("good", block(ROWS))
    assert (line["system"], line["queries"], line["present"], line["absent"], line["refused"]) == ("good", 3, 2, 1, 0)
    assert line["DSC_mean"] == line["DSC_macro"] == line["answered_DSC_mean"] == 0.75 and line["common_n"] == 2
    assert line["common_DSC_minus_first"] == 0.25 and line["answered_false_positive_rate"] == 1.0
    assert line.keys() == benchmark_row("lost", block(LOST)).keys()


def test_the_report_has_a_line_for_each_system_and_every_line_fits_its_header():
    text = benchmark_report(results())
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines()}) == 1, table
    assert "| good | 2 | 2 | 1 | 0.750" in text and "| lost | 2 | 0 | 1 | 0.000" in text
    assert "### The 2 of them that every system answered" in text
    assert "| liver | 1 | 0.500 | 0.000 |" in text, "systems side by side"


def test_reasons_of_refusals_stay_in_their_cell():
    assert "| lost | missing_mask | 3 | there is no a/b anywhere |" in benchmark_report(results())


def test_one_system_has_nothing_in_common_with_others():
    text = benchmark_report({"tolerance_mm": 2.0, "systems": {"good": block(ROWS)}})
    assert "every system answered" not in text and "## Refused" not in text

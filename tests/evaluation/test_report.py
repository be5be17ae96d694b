import json
import re

from evaluation_rows import row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.journal import ScoreJournal
from medvol_r1.evaluation.query_scores import Answer
from medvol_r1.evaluation.report import EvaluationReport, save_box_plot
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


def test_a_report_of_failures_alone(tmp_path, capsys):
    journal = ScoreJournal(tmp_path, {"lvlm": "x"})
    volumes = [{"case": "a", "image": "gone.nii", "queries": [{"case": f"c{n}", "query": "q"} for n in range(30)]}]
    lost = Answer(None, {"case": "c", "reason": "missing_file", "message": "gone"})
    rows = [row(f"c{n}", 0.0, status="missing_file", error=True, format_ok=False, true_ml=None) for n in range(30)]
    journal.append(volumes[0], [lost] * 30, rows)
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert json.loads((tmp_path / "metrics.json").read_text())["counts"]["errors"] == 30
    summary = (tmp_path / "summary.md").read_text()
    assert (
        "| c19 | missing_file |" in summary and "| c20 |" not in summary and "and 10 more in `per_query.csv`" in summary
    )
    assert "dsc_by_target.png" in summary and summary.count("![") == 1, "there is no case that could be drawn"
    assert "30 queries, 30 errors" in capsys.readouterr().out


def test_best_median_and_worst_are_drawn_of_what_was_answered(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(EvaluationReport, "_draw", lambda self, row, *rest: drawn.append(row["case"]))
    journal = ScoreJournal(tmp_path, {})
    volumes = [{"case": "a", "image": "a.nii", "queries": [{"case": name} for name in "abcdef"]}]
    rows = [row(name, dsc) for name, dsc in zip("abcde", (0.3, 0.9, 0.1, 0.5, 0.7), strict=True)]
    rows.append(row("f", 0.0, error=True))
    journal.append(volumes[0], [Answer(None, {})] * 6, rows)
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert drawn == ["b", "d", "c"]
    assert "best of `organs`: b, DSC 0.900" in (tmp_path / "summary.md").read_text()


def test_a_picture_that_fails_leaves_the_numbers(tmp_path, caplog):
    journal = ScoreJournal(tmp_path, {})
    volumes = [{"case": "a", "image": "gone.nii", "queries": [{"case": "a", "query": "q"}]}]
    journal.append(volumes[0], [Answer({"status": "ok"}, None)], [row("a", 0.5)])
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert (tmp_path / "metrics.json").is_file() and "no picture of case a" in caplog.text


def test_the_box_plot_is_a_picture(tmp_path):
    rows = [row(str(n), n / 10, target="abc"[n % 3]) for n in range(9)] + [row("x", 0.4, target=None)]
    save_box_plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

import json

import pytest
from evaluation_rows import row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.journal import ScoreJournal
from medvol_r1.evaluation.query_scores import Outcome
from medvol_r1.evaluation.report import EvaluationReport, save_box_plot

BOOTSTRAP = ClusterBootstrap(20)


def test_a_report_of_failures_alone(tmp_path, capsys):
    journal = ScoreJournal(tmp_path, {"lvlm": "x"})
    volumes = [{"case": "a", "image": "gone.nii", "queries": [{"case": f"c{n}", "query": "q"} for n in range(30)]}]
    lost = Outcome(None, {"case": "c", "reason": "missing_file", "message": "gone"})
    rows = [row(f"c{n}", 0.0, status="missing_file", error=True, format_ok=False, true_ml=None) for n in range(30)]
    journal.append(volumes[0], [lost] * 30, rows)
    report = EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP)
    report.write()
    with pytest.raises(SystemExit, match=r"^none of 30 queries could be answered: missing_file \(see "):
        report.exit_if_all_failed()
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
    journal.append(volumes[0], [Outcome(None, {})] * 6, rows)
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert drawn == ["b", "d", "c"]
    assert "best of `organs`: b, DSC 0.900" in (tmp_path / "summary.md").read_text()


def test_a_picture_that_fails_leaves_the_numbers(tmp_path, caplog):
    journal = ScoreJournal(tmp_path, {})
    volumes = [{"case": "a", "image": "gone.nii", "queries": [{"case": "a", "query": "q"}]}]
    journal.append(volumes[0], [Outcome({"status": "ok"}, None)], [row("a", 0.5)])
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert (tmp_path / "metrics.json").is_file() and "no picture of case a" in caplog.text


def test_the_box_plot_is_a_picture(tmp_path):
    rows = [row(str(n), n / 10, target="abc"[n % 3]) for n in range(9)] + [row("x", 0.4, target=None)]
    save_box_plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_one_answer_is_enough_to_end_well_and_both_means_are_printed(tmp_path, capsys):
    journal = ScoreJournal(tmp_path, {})
    volumes = [{"case": "a", "image": "a.nii", "queries": [{"case": name} for name in "abc"]}]
    # DSC of the targets: liver 0.2 and 0.4, spleen 0.9. Over queries 1.5 / 3 = 0.5, over targets (0.3 + 0.9) / 2 = 0.6.
    rows = [row("a", 0.2), row("b", 0.4, error=True), row("c", 0.9, target="spleen")]
    journal.append(volumes[0], [Outcome(None, {})] * 3, rows)
    report = EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP, pictures=False)
    report.write()
    report.exit_if_all_failed()
    assert "DSC mean 0.500, macro 0.600, IoU mean " in capsys.readouterr().out


def test_pictures_of_an_earlier_run_are_removed(tmp_path):
    journal = ScoreJournal(tmp_path, {})
    volumes = [{"case": "a", "image": "gone.nii", "queries": [{"case": "a", "query": "q"}]}]
    journal.append(volumes[0], [Outcome({"status": "ok"}, None)], [row("a", 0.5)])
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP).write()
    assert (tmp_path / "pictures" / "dsc_by_target.png").is_file()
    EvaluationReport(journal, volumes, lambda data: data, BOOTSTRAP, pictures=False).write()
    assert list((tmp_path / "pictures").iterdir()) == []

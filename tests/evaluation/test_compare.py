import csv
import json
import subprocess
import sys

import pytest
from evaluation_rows import row
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.compare import ComparisonError, compare, main, read_rows, tables
from medvol_r1.evaluation.report import write_rows

BOOTSTRAP = ClusterBootstrap(200)


def results(folder, rows):
    folder.mkdir()
    write_rows(rows, folder / "per_query.csv")
    return folder


def read(tmp_path, name, rows):
    return read_rows(results(tmp_path / name, rows))


def test_differences_are_paired(tmp_path):
    # The cases differ much, the two results little: 0.1 on each case, of whichever patient.
    first = [row(str(n), n / 10, patient=f"p{n}", target=f"t{n % 2}") for n in range(8)]
    second = [row(str(n), n / 10 + 0.1, patient=f"p{n}", target=f"t{n % 2}") for n in range(8)]
    compared = compare(read(tmp_path, "a", first), read(tmp_path, "b", second), BOOTSTRAP)
    dsc = compared["groups"]["all"]["DSC"]
    assert dsc["first"]["value"] == pytest.approx(0.35) and dsc["second"]["value"] == pytest.approx(0.45)
    assert [dsc["difference"][edge] for edge in ("low", "value", "high")] == pytest.approx([0.1] * 3)
    assert compared["groups"]["all"]["DSC_macro"]["difference"]["value"] == pytest.approx(0.1)
    assert set(compared["groups"]) == {"organs", "all"}
    assert "second - first" in tables(compared) and "| `organs` | DSC | 8 | 0.350 | 0.450 | 0.100" in tables(compared)


def test_marks_of_single_images_are_compared_where_both_have_them(tmp_path):
    first, second = (
        [row(str(n), 0.5, marks_iou=n / 10, point_dice=point_dice) for n in range(4)] for point_dice in (0.2, 0.3)
    )
    plain = [row(str(n), 0.5) for n in range(4)]
    compared = compare(read(tmp_path, "a", first), read(tmp_path, "b", second), BOOTSTRAP)["groups"]["all"]
    assert compared["marks_iou"]["first"]["value"] == pytest.approx(0.15)
    assert compared["point_dice"]["difference"]["value"] == pytest.approx(0.1)
    assert "marks_iou" not in compare(first := read(tmp_path, "c", plain), first, BOOTSTRAP)["groups"]["all"]


def test_only_cases_in_both_are_compared_and_the_others_are_counted(tmp_path):
    first = [row("a", 0.5), row("b", 0.1)]
    second = [row("a", 0.7), row("c", 0.1), row("d", 0.1)]
    compared = compare(read(tmp_path, "a", first), read(tmp_path, "b", second), BOOTSTRAP)
    assert (compared["cases"], compared["only_first"], compared["only_second"]) == (1, 1, 2)
    assert "1 cases in both, 1 in the first only, 2 in the second only." in tables(compared)


def test_absent_targets_are_compared_by_their_false_positives(tmp_path):
    first = [row("a", 0.5), row("h", None, pred_ml=3.0), row("i", None, pred_ml=1.0)]
    second = [row("a", 0.5), row("h", None), row("i", None, pred_ml=1.0)]
    compared = compare(read(tmp_path, "a", first), read(tmp_path, "b", second), BOOTSTRAP)
    rate = compared["groups"]["all"]["false_positive_rate"]
    assert (rate["first"]["value"], rate["second"]["value"], rate["difference"]["value"]) == (1.0, 0.5, -0.5)
    assert compared["groups"]["all"]["DSC"]["difference"]["n"] == 1


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"target": "spleen"}, r"\(liver, 100.0 ml, 'query a'\) and \(spleen"),
        ({"true_ml": 90.0}, "100.0 ml, .* and .* 90.0 ml"),
        ({"query": "other words"}, "'other words'"),
    ],
)
def test_other_cases_of_the_same_name_are_refused(tmp_path, changes, told):
    rows = read(tmp_path, "a", [row("a", 0.5)]), read(tmp_path, "b", [row("a", 0.5, **changes)])
    with pytest.raises(ComparisonError, match=f"case 'a' is not the same in both: .*{told}"):
        compare(*rows, BOOTSTRAP)


def test_a_failure_without_a_volume_can_be_compared(tmp_path):
    rows = read(tmp_path, "a", [row("a", 0.5)]), read(tmp_path, "b", [row("a", 0.0, true_ml=None, error=True)])
    assert compare(*rows, BOOTSTRAP)["groups"]["all"]["DSC"]["difference"]["value"] == -0.5


@pytest.mark.parametrize(
    "text, message", [(None, "per_query.csv does not exist"), ("a,b\n1,2\n", "holds no rows of an")]
)
def test_folders_that_hold_no_results(tmp_path, capsys, text, message):
    results(tmp_path / "good", [row("a", 0.5)])
    (tmp_path / "bad").mkdir()
    if text is not None:
        (tmp_path / "bad" / "per_query.csv").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "good"), str(tmp_path / "bad")])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_nothing_in_common(tmp_path):
    with pytest.raises(ComparisonError, match="no case in common"):
        compare(read(tmp_path, "a", [row("a", 0.5)]), read(tmp_path, "b", [row("b", 0.5)]), BOOTSTRAP)


def test_the_command_writes_the_numbers(tmp_path, capsys):
    for name, dsc in (("a", 0.25), ("b", 0.75)):
        results(tmp_path / name, [row("x", dsc)])
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "c.json"), "--samples", "10"])
    assert "| all | DSC | 1 | 0.250 | 0.750 | 0.500 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["groups"]["all"]["DSC"]["difference"]["value"] == 0.5


def test_none_is_an_empty_field(tmp_path):
    results(tmp_path / "a", [row("x, y", 0.5, query='say "a"\nb')])
    with (tmp_path / "a" / "per_query.csv").open(newline="") as file:
        (read_back,) = csv.DictReader(file)
    assert read_back["HD95_mm"] == "" and read_back["case"] == "x, y" and read_back["query"] == 'say "a"\nb'


@pytest.mark.parametrize("module", ["compare", "risk_coverage"])
def test_results_are_compared_without_torch_or_phantoms(module):
    program = f"import sys, medvol_r1.evaluation.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    modules = set(done.stdout.split())
    assert modules.isdisjoint({"torch", "monai", "medvol_r1.phantom", "medvol_r1.queries"})

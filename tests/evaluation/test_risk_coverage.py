"""Tables and curves of several answers: by hand, and bad input."""

import json

import numpy as np
import pytest
from evaluation_rows import row
from medvol_r1.evaluation.report import write_rows
from medvol_r1.evaluation.risk_coverage import main, selective_risk
from PIL import Image

DSC = {"a": 0.9, "b": 0.8, "c": 0.2, "d": 0.5}
AGREEMENT = {"a": 0.95, "b": 0.7, "c": 0.1, "d": 0.7}


def evaluation(folder, num_anchors, scores=None, absent=(), **settings):
    """A folder with a row for each case, each of a patient of its own; `absent`: (agreement, ml of the mask) each."""
    folder.mkdir()
    several = num_anchors > 1
    rows = [
        row(case, dsc, patient=case, seconds=num_anchors / 4, agreement=AGREEMENT[case] if several else None)
        for case, dsc in (scores or DSC).items()
    ]
    rows += [
        row(f"absent{n}", None, patient=f"x{n}", agreement=agreement if several else None, pred_ml=ml)
        for n, (agreement, ml) in enumerate(absent)
    ]
    write_rows(rows, folder / "per_query.csv")
    settings = {"num_anchors": num_anchors, "anchor_choice": "agreement", "abstain_below": None} | settings
    (folder / "metrics.json").write_text(json.dumps({"settings": settings}))
    return str(folder)


def test_selective_risk_by_hand():
    # In the order of confidence: 0; two equals with the mean (0.2 + 0.4) / 2 = 0.3 each; 1.
    curve = selective_risk(np.array([0.5, 0.9, 0.1, 0.5]), np.array([0.2, 0.0, 1.0, 0.4]))
    np.testing.assert_allclose(curve, [0, 0.3 / 2, 0.6 / 3, 1.6 / 4])


@pytest.mark.parametrize("seed", range(5))
def test_selective_risk_ends_at_the_mean_and_its_best_order_is_least(seed):
    rng = np.random.default_rng(seed)
    confidence, risk = rng.integers(0, 5, 20) / 4, rng.random(20)
    curve, order = selective_risk(confidence, risk), rng.permutation(20)
    assert curve[-1] == pytest.approx(risk.mean())
    np.testing.assert_allclose(selective_risk(confidence[order], risk[order]), curve)
    assert (selective_risk(-risk, risk) <= curve + 1e-12).all()
    np.testing.assert_allclose(selective_risk(np.zeros(20), risk), risk.mean())


def cells(text, first):
    """The table row that begins with these cells."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_the_tables_by_hand(tmp_path, capsys):
    one = evaluation(tmp_path / "one", 1, {**DSC, "c": 0.6}, absent=[(None, 5.0), (None, 0.0)])
    four = evaluation(tmp_path / "four", 4, absent=[(0.4, 5.0), (1.0, 0.0)])
    main([one, four, "--output", str(tmp_path / "new" / "table.md"), "--picture", str(tmp_path / "new" / "curve.png")])
    text = capsys.readouterr().out
    assert text == (tmp_path / "new" / "table.md").read_text()
    first, second = cells(text, "1 | -"), cells(text.split("Of the queries")[0], "4 | agreement")
    assert first[2] == "4" and first[4].startswith("0.700 [") and first[5] == first[7] == "-"
    assert (first[8], second[8]) == ("0.25", "1.00")
    # (0.9 + 0.8 + 0.2 + 0.5) / 4 = 0.6; 0.6 - 0.7; (0.95 + 0.7 + 0.1 + 0.7) / 4 = 0.6125; one of two absent is found.
    assert second[4].startswith("0.600 [") and second[5].startswith("-0.100 [") and second[7] == "0.613"
    assert second[6].startswith("0.500")
    # At 100% 0.6; at 90% and 80% round(3.6) = 4 and round(3.2) = 3: (0.9 + 0.65 + 0.65) / 3; at 70% 3; at 50% 2:
    # (0.9 + 0.65) / 2. Areas: (0.1 + 0.225 + 0.8 / 3 + 0.4) / 4 = 0.24792; 0.4; (0.1 + 0.15 + 0.8 / 3 + 0.4) / 4.
    covered = cells(text.split("Of the queries")[1].split("`abstain_below`")[0], "4 | agreement")
    assert covered[2:] == ["0.600", "0.600", "0.733", "0.733", "0.775", "0.248", "0.400", "0.229"]
    # At 0.5: a, b and d of 4 are answered, (0.9 + 0.8 + 0.5) / 3 and / 4; the false positive with 0.4 is withheld.
    assert cells(text, "0.5") == ["0.5", "0.750", "0.733", "0.550", "0.000"]
    assert cells(text, "0.3")[1:] == ["0.750", "0.733", "0.550", "0.500"]
    assert cells(text, "0.9") == ["0.9", "0.250", "0.900", "0.225", "0.000"]
    with Image.open(tmp_path / "new" / "curve.png") as picture:
        assert picture.format == "PNG" and picture.width > 400


def test_without_absent_targets_and_with_nothing_answered(tmp_path, capsys):
    scores = {"c": 0.2, "d": 0.5}
    main([evaluation(tmp_path / "four", 4, scores)])
    text = capsys.readouterr().out
    assert cells(text, "0.9") == ["0.9", "0.000", "-", "0.000", "-"]


def test_one_answer_alone_has_no_curve(tmp_path, capsys):
    one = evaluation(tmp_path / "one", 1)
    main([one])
    assert "abstain_below" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([one, "--picture", str(tmp_path / "curve.png")])
    assert "no folder has several answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "break_it, told",
    [
        (lambda folder: (folder / "metrics.json").unlink(), "metrics.json does not exist; give folders of evaluations"),
        (lambda folder: (folder / "per_query.csv").unlink(), "per_query.csv does not exist; give two folders"),
    ],
)
def test_a_folder_that_is_no_evaluation(tmp_path, capsys, break_it, told):
    folder = evaluation(tmp_path / "four", 4)
    break_it(tmp_path / "four")
    with pytest.raises(SystemExit):
        main([folder])
    assert told in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    one, other = evaluation(tmp_path / "one", 1), evaluation(tmp_path / "other", 4, {"a": 0.9})
    held = evaluation(tmp_path / "held", 4, abstain_below=0.5)
    nothing = evaluation(tmp_path / "nothing", 4, {"a": None})
    cases = {(one, other): "are not of the same cases", (one, held): "with abstain_below 0.5; evaluate without it"}
    for folders, told in {**cases, (nothing,): "no query has a label with a target that is there"}.items():
        with pytest.raises(SystemExit):
            main(list(folders))
        assert told in capsys.readouterr().err

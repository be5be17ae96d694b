import pytest
from medvol_r1.layouts.found_cases import LeftOut
from medvol_r1.preparation.report import Prepared, write_report
from medvol_r1.preparation.splits import PatientSplit
from prepared_records import part, question, record


@pytest.fixture
def text(tmp_path):
    """Of three cases: the second has kidneys and a dropped question, the third no header."""
    kidneys = [part(2, "right kidney", "right", 150.0), part(3, "left kidney", "left", 160.0)]
    dropped = {"training": [{"target": "largest:kidney", "reason": "The sizes 71 and 62 voxels are too alike."}]}
    asked = {"training": [question("kidneys", "training", "G"), question("liver", "training", "H")]}
    records = [
        record("a"),
        record("b", names=["liver", "kidney"], parts=kidneys, questions=asked, dropped=dropped, axes="IPL"),
        record("c", spacing_mm=None, repairs={"no_header": "axes LPS"}, notes=["x|y"]),
    ]
    left_out = [LeftOut("d", "no_label", "d.nii.gz has no label map"), LeftOut("e", "no_label", "e")]
    split = PatientSplit({"a": "test", "b": "training", "c": "test"}, [("a", "c")], {"c": "training"})
    write_report(Prepared("kits23", "downloads/kits", 489, records, left_out, split), tmp_path / "report.md")
    return (tmp_path / "report.md").read_text(encoding="utf-8")


def test_counts(text):
    assert text.startswith(
        "# kits23\n\n`downloads/kits`: 5 cases found (the release has 489 with labels), 3 prepared, 2 left out.\n"
    )
    assert "| training | 1 | 1 | 2 |\n| validation | 0 | 0 | 0 |\n| test | 2 | 2 | 2 |" in text


def test_who_is_left_out_and_why(text):
    assert "## Left out\n\nno_label 2." in text and "| d | no_label | d.nii.gz has no label map |" in text


def test_repairs_and_notes(text):
    assert "no_header 1." in text and "| c | no_header | axes LPS |" in text
    assert r"| c | x\|y |" in text


def test_labels_in_ml_and_who_lacks_them(text):
    # The two kidneys together; the liver of c has no spacing, so no ml.
    assert "| kidney | 1 | 310 (310 to 310) | 0 |" in text
    assert "| liver | 2 | 1500 (1500 to 1500) | 1: b |" in text


def test_geometry(text):
    assert "Where the axes of the files point: LPS 2, IPL 1." in text
    assert "| third | 6 (6 to 6) | 2 (2 to 2) |" in text


def test_patients(text):
    assert "| a | c | test |" in text and "| c | training | test |" in text


def test_questions(text):
    assert "| target | A | G | H |\n| --- | --- | --- | --- |\n| kidneys |  | 1 |  |\n| liver | 2 |  | 1 |" in text
    assert "| largest:kidney | The sizes ... and ... voxels are too alike. | 1 |" in text


def test_nothing_was_found_at_all(tmp_path):
    split = PatientSplit({}, [], {})
    write_report(Prepared("folder", "x", None, [], [LeftOut("a", "no_target", "a")], split), tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert "`x`: 1 cases found, 0 prepared, 1 left out." in text and "## Questions\n\nNone." in text

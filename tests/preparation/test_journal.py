import os

import pytest
from medvol_r1.layouts.found_cases import FoundCase
from medvol_r1.preparation.journal import CaseJournal


@pytest.fixture
def case(tmp_path):
    paths = [tmp_path / name for name in ("image.nii", "label.nii")]
    for path in paths:
        path.write_text("voxels")
    return FoundCase("a", "a", *paths, {"liver": [1]})


def test_what_is_kept_is_finished(case, tmp_path):
    journal = CaseJournal(tmp_path / "out", {"seed": 0})
    assert journal.finished(case) is None
    record = journal.keep(case, {"case": "a", "shape": (1, 2)})
    assert record["shape"] == [1, 2]  # as it will be read
    assert CaseJournal(tmp_path / "out", {"seed": 0}).finished(case) == record
    assert [path.name for path in (tmp_path / "out" / "cases").iterdir()] == ["a.json"]


def test_whatever_changes_makes_it_unfinished(case, tmp_path):
    journal = CaseJournal(tmp_path, {"seed": 0})
    journal.keep(case, {"case": "a"})
    assert journal.finished(case)
    assert CaseJournal(tmp_path, {"seed": 1}).finished(case) is None
    assert journal.finished(case._replace(names={"liver": [2]})) is None
    assert journal.finished(case._replace(split="test")) is None
    os.utime(case.label, (1, 1))
    assert journal.finished(case) is None
    journal.keep(case, {"case": "a"})
    case.image.write_text("other voxels")
    assert journal.finished(case) is None


def test_half_a_record_is_none(case, tmp_path):
    journal = CaseJournal(tmp_path, {})
    journal.keep(case, {"case": "a"})
    path = tmp_path / "cases" / "a.json"
    path.write_text(path.read_text()[:20])
    assert journal.finished(case) is None

import json

from medvol_r1.datasets.datalist import read_datalist
from medvol_r1.preparation.datalists import write_datalists
from prepared_records import question, record


def test_each_split_has_its_cases_in_its_words(tmp_path):
    two = {"training": [question("liver", "training"), question("spleen", "training")], "test": [], "validation": []}
    records = [record("a", questions=two), record("b"), record("c")]
    counts = write_datalists(records, {"a": "training", "b": "test", "c": "test"}, tmp_path)
    assert counts == {"training": 2, "validation": 0, "test": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.json", "training.json"]
    entries = read_datalist(tmp_path / "training.json")
    assert [entry["case"] for entry in entries] == ["a_q0", "a_q1"]
    assert entries[1] == {
        "image": "/data/a.nii.gz",
        "label": str(tmp_path / "labels/a.nii.gz"),
        "patient": "a",
        "target": "spleen",
        "type": "A",
        "label_values": [1],
        "query": "training: spleen?",
        "case": "a_q1",
    }
    assert [entry["query"] for entry in read_datalist(tmp_path / "test.json")] == ["test: liver?"] * 2


def test_a_list_of_an_earlier_run_does_not_stay(tmp_path):
    write_datalists([record("a")], {"a": "test"}, tmp_path)
    write_datalists([record("a")], {"a": "training"}, tmp_path)
    assert [path.name for path in tmp_path.glob("*.json")] == ["training.json"]


def test_questions_are_kept_verbatim(tmp_path):
    odd = record("a", questions={"test": [question("$liver, é", "%")], "training": [], "validation": []})
    write_datalists([odd], {"a": "test"}, tmp_path)
    assert json.loads((tmp_path / "test.json").read_text(encoding="utf-8"))[0]["query"] == "%: $liver, é?"

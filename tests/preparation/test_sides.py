import numpy as np
import pytest
from medvol_r1.preparation.fingerprint import fingerprint
from medvol_r1.preparation.sides import sides_of, write_sides

FRACTIONS = {"training": 0.6, "validation": 0.2, "test": 0.2}


def scan(seed):
    return np.random.default_rng(seed).normal(0, 30, (24, 24, 24)).round()


def record(case, image, split=None):
    return {"case": case, "patient": case, "split": split, "fingerprint": fingerprint(image)}


@pytest.fixture
def earlier(tmp_path):
    """Ten scans, of which five are shared: 0 in test, the others in training."""
    records = [record(f"old_{seed}", scan(seed), "test" if seed == 0 else "training") for seed in range(5)]
    write_sides(records, {case["case"]: case["split"] for case in records}, tmp_path)
    return tmp_path


def test_a_patient_of_an_earlier_data_set_stays_on_its_side(earlier):
    copies = {
        "flipped": np.flip(scan(0), 1),
        "cropped": scan(1)[2:, :, 3:],
        "turned": scan(2).transpose(2, 0, 1),
    }
    records = [record(name, image) for name, image in copies.items()]
    records += [record(f"new_{seed}", scan(seed)) for seed in range(10, 20)]
    split = sides_of(records, [earlier], FRACTIONS, 0)
    assert [split.of_case[name] for name in copies] == ["test", "training", "training"]
    assert list(split.of_case) == [case["case"] for case in records]  # earlier cases are not listed again
    assert ("old_0", "flipped") in split.joined and len(split.joined) == 3 and split.moved == {}


def test_the_earlier_list_counts_more_than_an_official_split(earlier):
    records = [record("copy", scan(1), "test"), record("same", scan(0), "test"), record("new", scan(9), "test")]
    split = sides_of(records, [earlier], FRACTIONS, 0)
    assert split.of_case == {"copy": "training", "same": "test", "new": "test"}
    assert split.moved == {"copy": "test"}


def test_alone(tmp_path):
    split = sides_of([record("a", scan(0), "test"), record("b", scan(0)[1:])], [], FRACTIONS, 0)
    assert split.of_case == {"a": "test", "b": "test"} and split.joined == [("a", "b")]


def test_a_folder_in_which_nothing_was_prepared(tmp_path):
    with pytest.raises(ValueError, match="`beside` names .* which has no patients.json"):
        sides_of([], [tmp_path], FRACTIONS, 0)

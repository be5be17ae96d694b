import numpy as np
import pytest
from medvol_r1.preparation.fingerprint import fingerprint
from medvol_r1.preparation.splits import split_patients

FRACTIONS = {"training": 0.7, "validation": 0.1, "test": 0.2}


def noise(seed):
    return np.random.default_rng(seed).normal(0, 20, (20, 20, 20)).round()


def named(count):
    return {f"case{n}": f"patient{n}" for n in range(count)}


def counts(split):
    sides = list(split.of_case.values())
    return {side: sides.count(side) for side in sorted(set(sides))}


def test_fractions_of_patients():
    split = split_patients(named(30), {}, {}, FRACTIONS, 0)
    assert counts(split) == {"test": 6, "training": 21, "validation": 3}
    assert list(split.of_case) == list(named(30)) and split.joined == [] and split.moved == {}


def test_the_order_of_the_cases_does_not_count():
    forward, backward = named(30), dict(reversed(named(30).items()))
    first = split_patients(forward, {}, {}, FRACTIONS, 5)
    assert first.of_case == split_patients(backward, {}, {}, FRACTIONS, 5).of_case
    assert first.of_case != split_patients(forward, {}, {}, FRACTIONS, 6).of_case


@pytest.mark.parametrize(("patients", "sides"), [(3, 3), (2, 1), (1, 1)])
def test_few_patients_fill_every_side_if_they_can(patients, sides):
    assert len(counts(split_patients(named(patients), {}, {}, FRACTIONS, 0))) == sides


def test_a_side_of_no_share_stays_empty():
    split = split_patients(named(9), {}, {}, {"training": 1.0, "validation": 0.0, "test": 0.0}, 0)
    assert counts(split) == {"training": 9}


def test_scans_of_one_patient_stay_together():
    cases = {f"case{n}": f"patient{n // 3}" for n in range(60)}
    for seed in range(5):
        of_case = split_patients(cases, {}, {}, FRACTIONS, seed).of_case
        assert all(len({of_case[f"case{3 * p + n}"] for n in range(3)}) == 1 for p in range(20))


def test_planted_duplicates_are_on_one_side_of_all_data_sets():
    """KiTS23's case as AbdomenCT-1K has it, flipped and re-saved, and as CT-ORG has it, cropped and shifted."""
    cases = {f"{name}/{n}": f"{name}/{n}" for name in ("kits23", "abdomenct_1k", "ct_org") for n in range(8)}
    images = {case: noise(seed) for seed, case in enumerate(cases)}
    images["abdomenct_1k/5"] = images["kits23/2"][::-1].astype(np.float32)
    images["ct_org/7"] = images["kits23/2"][:, 2:18].transpose(2, 0, 1) + 1024
    fingerprints = {case: fingerprint(image) for case, image in images.items()}
    for seed in range(5):
        split = split_patients(cases, fingerprints, {}, FRACTIONS, seed)
        assert len({split.of_case[case] for case in ("kits23/2", "abdomenct_1k/5", "ct_org/7")}) == 1
    assert ("kits23/2", "abdomenct_1k/5") in split.joined and ("kits23/2", "ct_org/7") in split.joined
    assert {case for pair in split.joined for case in pair} == {"kits23/2", "abdomenct_1k/5", "ct_org/7"}


def test_matches_join_through_others():
    """a and b share a patient, b and c an image."""
    cases = {"a": "p", "b": "p", "c": "q"} | named(30)
    prints = {"b": fingerprint(noise(0)), "c": fingerprint(noise(0)[::-1])}
    for seed in range(5):
        of_case = split_patients(cases, prints, {}, FRACTIONS, seed).of_case
        assert of_case["a"] == of_case["b"] == of_case["c"]


def test_one_patient_in_an_official_test_takes_its_copies_there():
    cases = named(20)
    image = noise(0)
    prints = {"case3": fingerprint(image), "case15": fingerprint(image[:, :, ::-1])}
    official = {f"case{n}": "test" if n < 5 else "training" for n in range(20)}
    split = split_patients(cases, prints, official, FRACTIONS, 0)
    assert split.of_case["case15"] == "test" and split.moved == {"case15": "training"}
    assert all(split.of_case[f"case{n}"] == "test" for n in range(5))
    assert counts(split)["test"] == 6


def test_official_training_gives_the_validation_cases():
    official = {case: "training" for case in named(16)}
    split = split_patients(named(16), {}, official, FRACTIONS, 0)
    # 0.1 / (0.7 + 0.1) of 16
    assert counts(split) == {"training": 14, "validation": 2} and split.moved == {}


def test_an_official_validation_stays_as_it_is():
    official = {case: "training" for case in named(16)} | {"case1": "validation"}
    assert counts(split_patients(named(16), {}, official, FRACTIONS, 0)) == {"training": 15, "validation": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": {"training": 0.8, "validation": 0.1, "test": 0.2}}, "with the sum 1"),
        ({"fractions": {"training": 1.2, "validation": -0.2, "test": 0.0}}, "none below 0"),
        ({"fractions": {"training": 1.0}}, "config key `fractions`"),
        ({"official": {"case0": "train"}}, "'case0' is 'train'; test, validation, training are legal"),
        ({"official": {"case9": "test"}}, "'case9', which is not among the 3 cases"),
        ({"fingerprints": {"case9": []}}, "'case9', which is not among the 3 cases"),
    ],
)
def test_bad_input(change, message):
    arguments = {"cases": named(3), "fingerprints": {}, "official": {}, "fractions": FRACTIONS, "seed": 0}
    with pytest.raises(ValueError, match=message):
        split_patients(**arguments | change)

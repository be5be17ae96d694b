"""Questions about real label maps: words, splits, answers, what is dropped."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from medvol_r1.queries.bank import all_texts
from medvol_r1.queries.concepts import REAL_CONCEPTS
from medvol_r1.queries.label_parts import NO_VALUE, label_parts
from medvol_r1.queries.phrases import COUPLED_NAMES, SUBJECTS
from medvol_r1.queries.real_bank import bank_paraphrases, real_questions
from medvol_r1.queries.wording import SPLITS, content_words, words

SUBJECT_OF = {concept.target: concept.subject for concept in REAL_CONCEPTS}
LPS = np.diag([-2.0, -2.0, 5.0, 1.0])
KITS = {"kidney": [1], "kidney tumor": [2], "kidney cyst": [3]}


@pytest.fixture(scope="module")
def bank():
    return {split: bank_paraphrases(split) for split in SPLITS}


def groups_of(paraphrases):
    """(target, type, group) of all."""
    return [(one.target, kind, group) for one in paraphrases for kind, some in one.groups.items() for group in some]


def _kits() -> np.ndarray:
    """[80, 30, 12]: a tumor at the right kidney (low index: x runs to the left), a larger cyst at the left one."""
    label = np.zeros((80, 30, 12), dtype=np.uint8)
    label[10:20, 10:20, 2:8], label[60:70, 10:20, 2:8] = 1, 1
    label[18:22, 12:16, 4:6], label[68:74, 12:18, 4:6] = 2, 3
    return label


@pytest.fixture(scope="module")
def kits():
    return label_parts(_kits(), LPS, KITS)


# --- the words --------------------------------------------------------------------------------------------------------


def test_there_are_twelve_groups_of_each_target_and_type_and_some_held_out(bank):
    number = {split: Counter((target, kind) for target, kind, _ in groups_of(bank[split])) for split in SPLITS}
    wanted = {(concept.target, kind) for concept in REAL_CONCEPTS for kind in concept.types}
    for pair in wanted:
        assert sum(number[split][pair] for split in SPLITS) >= 12, pair
        assert min(number[split][pair] for split in SPLITS) >= 2, pair


def test_no_group_and_no_text_of_test_is_in_training(bank):
    groups, texts = defaultdict(set), defaultdict(set)
    for split in SPLITS:
        for _, _, group in groups_of(bank[split]):
            groups[split].add(group.key)
            texts[split].update(text.lower().rstrip(".?") for text in group.texts())
        # those of the phantoms, on which the demo models were trained
        texts[split].update(text.lower().rstrip(".?") for text in all_texts(split))
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert groups[one].isdisjoint(groups[other])
        assert texts[one].isdisjoint(texts[other])


def test_no_text_of_types_b_to_g_names_its_target(bank):
    seen = Counter()
    for split in SPLITS:
        for target, kind, group in groups_of(bank[split]):
            subject = SUBJECT_OF[target]
            names = COUPLED_NAMES[subject] if kind == "G" else () if kind == "A" else SUBJECTS[subject].forbidden
            for text in group.texts():
                assert words(text).isdisjoint(names), (target, text)
            seen[kind] += 1
    assert set(seen) == set("ABCDEFG")


def test_a_text_means_one_thing(bank):
    meanings = defaultdict(set)
    for split in SPLITS:
        for target, _, group in groups_of(bank[split]):
            for text in group.texts():
                meanings[text.lower()].add(target)
    assert [text for text, targets in meanings.items() if len(targets) > 1] == []


def test_held_out_words_were_read_in_training(bank):
    known = defaultdict(set)
    for target, _, group in groups_of(bank["train"]):
        known[target].update(word for text in group.texts() for word in content_words(text))
    for split in ("validation", "test"):
        for target, _, group in groups_of(bank[split]):
            for text in group.texts():
                assert content_words(text) <= known[target], text


def test_texts_are_well_formed(bank):
    for split in SPLITS:
        for _, _, group in groups_of(bank[split]):
            for text in group.texts():
                assert not set(text) & set('{}<>$%@#"|') and text == " ".join(text.split())
                assert not any(f" a {vowel}" in text for vowel in "aeio"), text


# --- the questions ----------------------------------------------------------------------------------------------------


def test_the_entries_are_answered_by_the_parts(bank, kits):
    questions = real_questions(kits, bank["test"], 4, np.random.default_rng(0), negatives=0.2)
    resolver = {concept.target: concept.resolver for concept in REAL_CONCEPTS}
    for entry in questions.entries:
        expected = kits.values_of(resolver[entry["target"]])
        assert entry["label_values"] == (expected or [NO_VALUE])
        assert (entry["type"] == "H") == (not expected)
        assert np.isin(kits.label, entry["label_values"]).any() == bool(expected)
    targets = {entry["target"] for entry in questions.entries if entry["type"] != "H"}
    assert {"kidneys", "right kidney", "kidney tumor", "kidney_with:cyst", "lesion_in:right:tumor"} <= targets
    assert not targets & {"liver", "spleen", "brain"}  # not drawn in KiTS23: neither asked nor absent


def test_a_target_is_asked_for_in_its_types_and_in_different_groups(bank, kits):
    questions = real_questions(kits, bank["test"], 6, np.random.default_rng(1), negatives=0.0)
    by_target = defaultdict(list)
    for entry in questions.entries:
        by_target[entry["target"]].append(entry)
    assert {len(entries) for entries in by_target.values()} == {6}
    assert {entry["type"] for entry in by_target["right kidney"]} == set("ABCDEF")
    assert len({entry["paraphrase_group"] for entry in by_target["kidney_with:cyst"][:3]}) == 3


def test_negatives_hold_over_many_cases(bank, kits):
    rng = np.random.default_rng(2)
    types = Counter(
        entry["type"] == "H" for _ in range(60) for entry in real_questions(kits, bank["train"], 1, rng, 0.15).entries
    )
    assert types[True] / types.total() == pytest.approx(0.15, abs=0.01)


def test_the_absent_are_as_many_as_there_are(bank):
    # only the pancreas is absent, asked for twice at most, though half of all were wanted
    parts = label_parts(np.eye(4, dtype=int)[None], LPS, {"liver": [1], "pancreas": [7]})
    entries = real_questions(parts, bank["train"], 2, np.random.default_rng(3), 0.9).entries
    assert Counter((entry["target"], entry["type"] == "H") for entry in entries) == {
        ("liver", False): 2,
        ("pancreas", True): 2,
    }
    nothing = label_parts(np.zeros((2, 2, 2), int), LPS, {"liver": [1]})
    for negatives, types in ((0.1, ["H"]), (0.0, [])):
        entries = real_questions(nothing, bank["train"], 1, np.random.default_rng(4), negatives).entries
        assert [entry["type"] for entry in entries] == types


def test_what_is_dropped_says_why(bank, kits):
    dropped = dict(real_questions(kits, bank["train"], 1, np.random.default_rng(5)).dropped)
    assert dropped["kidney_with:lesion"] == "Both kidneys satisfy the question."
    assert "only one" in dropped["largest:tumor"] and "too alike" in dropped["largest:kidney"]
    own = label_parts(_kits(), LPS, {**KITS, "aorta": [9]})
    dropped = dict(real_questions(own, bank["train"], 1, np.random.default_rng(5)).dropped)
    assert dropped["aorta"] == "the query bank has no sentences for it; give some in queries_file."


def test_types_can_be_chosen(kits):
    paraphrases = bank_paraphrases("train", "BG")
    kinds = {entry["type"] for entry in real_questions(kits, paraphrases, 2, np.random.default_rng(6), 0.0).entries}
    assert kinds == {"B", "G"}


def test_the_same_generator_draws_the_same(bank, kits):
    one, other = (real_questions(kits, bank["train"], 2, np.random.default_rng(7)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bank_paraphrases("val"), "Unknown split 'val'"),
        (lambda: bank_paraphrases("train", "AH"), r"Unknown query types \['H'\]; legal are some of A, B,"),
        (lambda: bank_paraphrases("train", ""), "Unknown query types"),
    ],
)
def test_bad_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("per_target", "negatives"), [(0, 0.1), (1, 1.0), (1, -0.1)])
def test_bad_numbers(kits, per_target, negatives):
    with pytest.raises(ValueError, match=f"got {per_target} and {negatives}"):
        real_questions(kits, [], per_target, np.random.default_rng(0), negatives)

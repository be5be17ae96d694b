"""The query bank: its splits, its words, and what is drawn of it."""

import hashlib
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from medvol_r1.phantom.scan import ALL_SUBSETS, LABELS, make_phantom
from medvol_r1.queries.bank import all_texts, query_bank, sample_queries
from medvol_r1.queries.concepts import CONCEPTS
from medvol_r1.queries.phrases import COUPLED_NAMES, SUBJECTS
from medvol_r1.queries.resolvers import resolve
from medvol_r1.queries.wording import SPLITS, content_words, words

SUBJECT_OF = {c.target: c.subject for concepts in CONCEPTS.values() for c in concepts}
IDS = {name: value for value, name in LABELS.items()}


@pytest.fixture(scope="module")
def banks():
    """All queries by (subset, split)."""
    return {(subset, split): list(query_bank(subset, split)) for subset in CONCEPTS for split in SPLITS}


def _label(subset: str, *absent: str) -> np.ndarray:
    """[96, 24, 12] with a cube for each label of the subset; tumor in the right kidney, cyst in the left."""
    label = np.zeros((96, 24, 12), dtype=np.uint8)
    organs = {
        "organs": (1, 2, 3, 4, 5),
        "whole_body": (1, 2, 3, 6, 7, 8, 9, 10),
        "renal": (2, 3),
        "wide": range(1, 11),
        "head_neck": range(13, 20),
    }[subset]
    for i, value in enumerate(organs):
        label[6 * i : 6 * i + 5, 4:10, 2:8] = value
    if subset == "renal":
        label[1:3, 5:7, 3:5], label[7:10, 5:8, 3:6] = 11, 12
    label[np.isin(label, [IDS[name] for name in absent])] = 0
    return label


# --- the bank -------------------------------------------------------------------------------------------------------


def test_groups_and_texts_of_the_splits_are_disjoint(banks):
    groups, texts = defaultdict(set), defaultdict(set)
    for (_, split), queries in banks.items():
        groups[split].update(q.paraphrase_group for q in queries)
        texts[split].update(q.text.lower().rstrip(".?") for q in queries)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert groups[one].isdisjoint(groups[other])
        assert texts[one].isdisjoint(texts[other])


def test_all_texts_is_the_bank_without_repetition(banks):
    for split in SPLITS:
        texts = list(all_texts(split))
        assert len(texts) == len(set(texts))
        assert set(texts) == {q.text for (_, s), queries in banks.items() if s == split for q in queries}


def test_a_text_means_one_thing(banks):
    meanings = defaultdict(set)
    for queries in banks.values():
        for q in queries:
            meanings[q.text].add(q.resolver)
    assert [text for text, resolvers in meanings.items() if len(resolvers) > 1] == []


@pytest.mark.parametrize("subset", CONCEPTS)
def test_the_plain_names_are_learned(banks, subset):
    texts = {q.text for q in banks[subset, "train"]}
    for concept in CONCEPTS[subset]:
        if concept.types != "G":
            subject = SUBJECTS[concept.subject]
            name = concept.target if concept.laterality in ("right", "left") else subject.names[0]
            be = "are" if subject.plural else "is"
            assert {name, f"the {name}", f"Segment the {name}.", f"Where {be} the {name}?"} <= texts


def test_ids_are_unique(banks):
    for queries in banks.values():
        assert len({q.id for q in queries}) == len(queries)


def _description_count(queries) -> Counter:
    """Distinct descriptions by target: texts with the bare carrier or whole questions, so carriers do not count."""
    bare = {(q.target, q.text) for q in queries if q.id.endswith("/0") or q.text.startswith(("the ", "any ", "which "))}
    return Counter(target for target, _ in bare)


@pytest.mark.parametrize("subset", CONCEPTS)
def test_every_target_has_descriptions_enough(banks, subset):
    targets = {c.target for c in CONCEPTS[subset]}
    for split, least in (("train", 8), ("validation", 3), ("test", 3)):
        counts = _description_count(banks[subset, split])
        assert set(counts) == targets
        assert min(counts.values()) >= least, f"{split}: {counts.most_common()[-1]}"


@pytest.mark.parametrize("subset", CONCEPTS)
def test_every_type_of_a_target_is_in_every_split(banks, subset):
    wanted = {(c.target, t) for c in CONCEPTS[subset] for t in c.types}
    for split in SPLITS:
        assert {(q.target, q.type) for q in banks[subset, split]} == wanted


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_word_of_a_held_out_text_is_read_in_training(banks, split):
    train = set().union(*(words(text) for text in all_texts("train")))
    held_out = set().union(*(words(text) for text in all_texts(split)))
    assert held_out - train == set()
    # and the words that say what is meant, in training texts of that very target
    for subset in CONCEPTS:
        known = defaultdict(set)
        for q in banks[subset, "train"]:
            known[q.target] |= content_words(q.text)
        for q in banks[subset, split]:
            assert content_words(q.text) <= known[q.target], q


def test_implicit_texts_do_not_name_their_target(banks):
    seen = Counter()
    for queries in banks.values():
        for q in queries:
            subject = SUBJECT_OF[q.target]
            if q.type in "BCDEF":
                assert words(q.text).isdisjoint(SUBJECTS[subject].forbidden), q
            elif q.type == "G":
                assert words(q.text).isdisjoint(COUPLED_NAMES[subject]) == (q.implicitness == 3), q
            seen[q.type] += 1
    assert set(seen) == set("ABCDEFG")


def test_a_query_of_one_side_says_its_side_and_no_other(banks):
    other = {"right": "left", "left": "right"}
    for queries in banks.values():
        for q in queries:
            if q.laterality in other:
                assert q.laterality in words(q.text), q
                assert other[q.laterality] not in words(q.text), q


def test_texts_are_well_formed(banks):
    for queries in banks.values():
        for q in queries:
            assert not set(q.text) & set('{}<>$%@#"|'), q.text
            assert q.text == " ".join(q.text.split()), q.text
            assert not any(f" a {vowel}" in q.text for vowel in "aeio"), q.text


def test_held_out_texts_can_be_told_from_training_words_alone():
    """A bag of content words that has read only train names the target of nearly every held-out text.

    Naive Bayes with add-one smoothing over the targets of type A to F: an upper bound that the bank must not spoil.
    """
    for subset in CONCEPTS:
        counts: dict[str, Counter] = defaultdict(Counter)
        for q in query_bank(subset, "train", types="ABCDEF"):
            counts[q.target].update(words(q.text))
        vocabulary = set().union(*counts.values())
        score = {}
        for target, counter in counts.items():
            total = sum(counter.values()) + len(vocabulary)
            score[target] = {word: math.log((counter[word] + 1) / total) for word in vocabulary}
        held_out = list(query_bank(subset, "test", types="ABCDEF"))
        hits = [q.target == max(score, key=lambda t: sum(score[t][w] for w in words(q.text))) for q in held_out]
        assert np.mean(hits) >= 0.95, (subset, [q.text for q, hit in zip(held_out, hits, strict=True) if not hit][:9])


def test_what_demo_models_were_trained_on_stays_as_it_is():
    """Ids and texts of all queries of phantoms, in their order: weights and kept results depend on them."""
    digest = hashlib.sha256()
    for subset in CONCEPTS:
        for split in SPLITS:
            for query in query_bank(subset, split):
                digest.update(f"{query.id} {query.text}\n".encode())
    assert digest.hexdigest() == "b864b42250f9b890f883a81db5a8ba10767ffec923873f458dcf5cf4dcbdc58f"


# --- drawing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", CONCEPTS)
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_drawn_is_answered_by_the_label_map(subset, split):
    label = _label(subset, *{"organs": ["spleen"], "whole_body": ["brain"], "wide": ["brain"]}.get(subset, []))
    label[label == 19] = 0  # no mandible
    drawn = sample_queries(label, subset, split, 64, np.random.default_rng(0), absent_fraction=0.3)
    assert len(drawn) == 64
    for q, mask in drawn:
        assert mask.shape == label.shape and mask.dtype == bool
        assert mask.any() == (q.type != "H")
        assert q.split == split
        np.testing.assert_array_equal(mask, resolve(q.resolver, label))
    assert 5 < sum(q.type == "H" for q, _ in drawn) < 35  # 19 expected, standard deviation 3.7


@pytest.mark.parametrize("subset", CONCEPTS)
def test_drawn_queries_are_in_the_bank(banks, subset):
    by_id = {q.id: q for q in banks[subset, "test"]}
    for q, _ in sample_queries(_label(subset), subset, "test", 32, np.random.default_rng(1), absent_fraction=0.5):
        original = by_id[q.id.removeprefix("absent/")]
        assert (q.text, q.resolver, q.paraphrase_group) == (original.text, original.resolver, original.paraphrase_group)


def test_targets_and_types_are_drawn_without_replacement_first():
    # liver, kidneys, right and left kidney, spleen, pancreas times A to F: 36 pairs
    rng = np.random.default_rng(2)
    drawn = sample_queries(_label("organs"), "organs", "train", 72, rng, absent_fraction=0.0)
    pairs = [(q.target, q.type) for q, _ in drawn]
    assert len(set(pairs[:36])) == 36 and len(set(pairs[36:])) == 36


def test_the_same_generator_draws_the_same_queries():
    one, other = (sample_queries(_label("renal"), "renal", "train", 8, np.random.default_rng(3)) for _ in range(2))
    assert [q for q, _ in one] == [q for q, _ in other]


def test_the_order_of_the_axes_does_not_matter():
    label = _label("renal")
    one = sample_queries(label, "renal", "test", 16, np.random.default_rng(4))
    other = sample_queries(label.transpose(2, 1, 0), "renal", "test", 16, np.random.default_rng(4))
    for (q, mask), (q_turned, mask_turned) in zip(one, other, strict=True):
        assert q == q_turned
        np.testing.assert_array_equal(mask.transpose(2, 1, 0), mask_turned)


def test_only_absent_targets_are_left_in_an_empty_label_map():
    drawn = sample_queries(np.zeros((8, 8, 8), np.uint8), "organs", "train", 12, np.random.default_rng(5))
    assert {q.type for q, _ in drawn} == {"H"} and not any(mask.any() for _, mask in drawn)


def test_an_absent_spleen_is_asked_for_in_any_words():
    drawn = sample_queries(_label("organs", "spleen"), "organs", "train", 40, np.random.default_rng(6), types=["H"])
    assert {q.target for q, _ in drawn} == {"spleen"}
    assert any("spleen" in q.text for q, _ in drawn) and any("spleen" not in q.text for q, _ in drawn)
    assert len({q.paraphrase_group.split("/")[1] for q, _ in drawn}) == 6  # worded as types A to F


def test_types_can_be_chosen():
    drawn = sample_queries(_label("renal"), "renal", "train", 20, np.random.default_rng(7), types="G")
    assert {q.type for q, _ in drawn} == {"G"}
    drawn = sample_queries(_label("renal", "cyst"), "renal", "train", 60, np.random.default_rng(8), 0.5, types="AH")
    assert {q.type for q, _ in drawn} == {"A", "H"}
    assert {q.target for q, _ in drawn if q.type == "H"} == {"cyst"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subset": "kidneys"}, "Unknown subset 'kidneys'; legal are organs, whole_body, renal, wide, head_neck"),
        ({"split": "val"}, "Unknown split 'val'; legal are train, validation, test"),
        ({"types": "AZ"}, r"Unknown query types \['Z'\]"),
        ({"types": []}, r"types takes some of A, B"),
        ({"label": np.zeros((4, 4, 4), np.uint8), "types": "A"}, "Nothing to ask: .* subset 'organs'"),
        ({"label": np.zeros((4, 4, 4), np.uint8), "absent_fraction": 0.0}, "absent_fraction=0.0"),
        ({"types": "H"}, "Nothing to ask"),  # all organs are there
        ({"types": "G"}, "Nothing to ask"),  # no lesions in this subset
        ({"label": np.zeros((4, 4), np.uint8)}, "rank 3"),
    ],
)
def test_bad_requests_say_what_is_legal(arguments, message):
    request = {"label": _label("organs"), "subset": "organs", "split": "train", "count": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        sample_queries(**request, rng=np.random.default_rng(0))


def test_an_organ_without_a_contour_is_not_asked_for():
    label = _label("head_neck")
    label[np.isin(label, (13, 16, 19))] = 0
    # The left parotid (16) was never drawn; brainstem (13) and mandible (19) were, but lie outside this range.
    drawn = sample_queries(
        label, "head_neck", "train", 200, np.random.default_rng(0), 0.5, labeled=(13, 14, 15, 17, 18, 19)
    )
    present = {q.target for q, _ in drawn if q.type != "H"}
    absent = {q.target for q, _ in drawn if q.type == "H"}
    assert present == {"spinal cord", "right parotid", "esophagus", "larynx"}
    assert absent == {"brainstem", "mandible"}


@pytest.mark.parametrize("subset", ALL_SUBSETS)
def test_phantoms_answer_most_of_the_bank(subset):
    """Over a few phantoms every concept of the subset is asked, lesions included."""
    rng = np.random.default_rng(9)
    asked = set()
    for seed in range(16):
        label = make_phantom(seed, subset, shape=(96, 96, 24), canonical=True).label
        asked |= {q.target for q, _ in sample_queries(label, subset, "train", 60, rng)}
    missing = {c.target for c in CONCEPTS[subset]} - asked
    assert len(missing) <= len(CONCEPTS[subset]) // 5, missing

"""The words of the query bank: that they say what the bank takes them to say."""

from string import Formatter

import pytest
from medvol_r1.queries.phrases import (
    COUPLED_FRAMES,
    COUPLED_HEADS,
    COUPLED_NAMES,
    FACT_FRAMES,
    MORE_HEADS,
    NAME_FRAMES,
    OPENERS,
    QUESTION_CARRIERS,
    SIDE_FRAMES,
    STOP_WORDS,
    SUBJECTS,
)
from medvol_r1.queries.wording import words


def test_stop_words_name_no_target():
    named = {word for subject in SUBJECTS.values() for word in subject.forbidden}
    assert STOP_WORDS.isdisjoint(named | {word for name in COUPLED_NAMES.values() for word in name})


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_knows_its_names_and_its_heads_hide_them(name):
    """Texts that must not name the target are checked against `forbidden`: a name that it lacks would slip through."""
    subject = SUBJECTS[name]
    for said in subject.names:
        assert words(said) & set(subject.forbidden), said
    for head in subject.heads:
        assert words(head).isdisjoint(subject.forbidden), head
    assert list(subject.facts) == list("BCDEF")


def test_coupled_nouns_begin_with_their_name_and_go_on_without_it():
    for noun, known in COUPLED_HEADS.items():
        heads = known + MORE_HEADS.get(noun, ())
        named = [not words(head).isdisjoint(COUPLED_NAMES[noun]) for head in heads]
        assert heads[0] == noun and named[0]
        assert named == sorted(named, reverse=True), heads  # names first


def fields(frame):
    return {field for _, field, _, _ in Formatter().parse(frame) if field is not None}


def test_frames_are_filled_with_what_the_bank_has():
    assert all(fields(frame) == {"x"} for frame in NAME_FRAMES)
    assert all(fields(frame) == {"side", "head"} for frame in SIDE_FRAMES)
    facts = {"the", "head", "finite", "bare", "participle", "next_finite", "next_participle"}
    assert set().union(*map(fields, FACT_FRAMES)) == facts
    assert all("head" in fields(frame) and len(fields(frame)) > 1 for frame in FACT_FRAMES)
    assert all({"x", "tail"} < fields(opener) for opener in OPENERS)
    assert {frozenset(fields(one)) for carriers in QUESTION_CARRIERS.values() for one in carriers} == {
        frozenset({"be", "x"})
    }
    # what a target is coupled with: another noun, several of it, two of them, a side, or none
    couples = {
        "kidney_with": {"a", "b"},
        "kidney_without": {"a", "b"},
        "kidney_with_more": {"a", "bs"},
        "kidney_with_largest": {"a", "b"},
        "lesion_in": {"a", "b", "side"},
        "kidney_with_several": {"a", "bs"},
        "largest_in": {"a", "b", "side"},
        "uppermost": {"a"},
        "lowermost": {"a"},
        "largest": {"a"},
        "smallest": {"a"},
        "lesion_beside": {"a", "b", "c"},
        "lesion_opposite": {"a", "b", "c"},
    }
    assert {name: set().union(*map(fields, frames)) for name, frames in COUPLED_FRAMES.items()} == couples
    for name, frames in COUPLED_FRAMES.items():
        assert all(fields(frame) == couples[name] for frame in frames), name

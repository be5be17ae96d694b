"""The words of a concept: its paraphrase groups, and the texts of each.

A text is carrier x description: "Please outline {the organ that makes bile} in this scan." All texts of a description,
whatever its head noun and carrier, form one paraphrase group, and a group belongs to one split: two thirds of the
groups to train, a sixth each to validation and test. The three are disjoint, and so are their texts. Validation and
test reuse the words of train in descriptions and carriers it does not have, because a small model cannot know a synonym
it never read; what they measure is the understanding of new wordings, not of new words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from .concepts import Concept
from .phrases import (
    BARE_CARRIER,
    COUPLED_FRAMES,
    COUPLED_HEADS,
    COUPLED_NAMES,
    FACT_FRAMES,
    NAME_FRAMES,
    OPENERS,
    QUESTION_CARRIERS,
    SIDE_FRAMES,
    STOP_WORDS,
    SUBJECTS,
    TAILS,
    VERBS,
)

SPLITS = ("train", "validation", "test")
IMPLICITNESS = {"A": 0, "B": 1, "D": 1, "C": 2, "E": 2, "F": 3}


class Group(NamedTuple):
    """Texts that belong to one split."""

    key: str
    implicitness: int
    texts: Callable[[], list[str]]
    """composes them; called for a drawn group only"""


def content_words(text: str) -> set[str]:
    """The words of a text that say which target is meant: lower case, without carrier and grammar words."""
    return words(text) - STOP_WORDS


def words(text: str) -> set[str]:
    """All words of a text, lower case; a hyphen parts words, an apostrophe does not."""
    return set("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())


def check_split(split: str) -> None:
    """Raises a ValueError that says what is legal."""
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}; legal are {', '.join(SPLITS)}.")


def split_of(index: int) -> str:
    """Every sixth group is for test, and every sixth for validation.

    Two apart, because no two of `FACT_FRAMES` two apart tell a fact in the same form: each form stays in train.
    """
    return {0: "test", 2: "validation"}.get(index % 6, "train")


def paraphrase_groups(concept: Concept, query_type: str, split: str) -> Iterator[Group]:
    """The paraphrase groups of a concept and type that belong to a split.

    Split like a Latin square: each frame is held out with some facts and each fact in some frames, so that both are
    known from train and only their meeting is new.
    """
    compose = {"A": _name_groups, "G": _coupled_groups}.get(query_type)
    groups = compose(concept) if compose else _fact_groups(concept, query_type)
    be = "are" if compose is not _coupled_groups and SUBJECTS[concept.subject].plural else "is"
    for index, name, implicitness, phrases in groups:
        if split_of(index) == split:
            yield Group(f"{concept.target}/{query_type}/{name}", implicitness, partial(_texts, phrases, be, split))


_Cell = tuple[int, str, int, Callable[[], list[str]]]
"""Index in the Latin square, name, implicitness, descriptions."""


def _name_groups(concept: Concept) -> Iterator[_Cell]:
    subject = SUBJECTS[concept.subject]
    for n, name in enumerate(subject.names):
        for s, sided in enumerate(_sided(name, concept.laterality)):
            for f, frame in enumerate(NAME_FRAMES):
                yield 1 + n + s + f, f"n{n}s{s}f{f}", 0, partial(_fill, frame, "x", (sided,), {})


def _fact_groups(concept: Concept, query_type: str) -> Iterator[_Cell]:
    subject = SUBJECTS[concept.subject]
    facts = subject.facts[query_type]
    grammar = {"s": "", "be": "are"} if subject.plural else {"s": "s", "be": "is"}
    for i, fact in enumerate(facts):
        following = facts[(i + 1) % len(facts)]
        slots = {
            "the": subject.determiner,
            "finite": fact.finite.format(**grammar),
            "participle": fact.participle,
            "bare": fact.bare,
            "next_finite": following.finite.format(**grammar),
            "next_participle": following.participle,
        }
        heads_by_side = zip(*(_sided(head, concept.laterality) for head in subject.heads), strict=True)
        for s, heads in enumerate(heads_by_side):
            for f, frame in enumerate(FACT_FRAMES):
                phrases = partial(_fill, frame, "head", heads, slots)
                yield i + f + s, f"p{i}s{s}f{f}", IMPLICITNESS[query_type], phrases


def _fill(frame: str, slot: str, choices: Sequence[str], slots: dict[str, str]) -> list[str]:
    """The frame once for each choice of one slot."""
    return [frame.format(**{slot: choice}, **slots) for choice in choices]


def _sided(noun: str, laterality: str) -> list[str]:
    if laterality not in ("right", "left"):
        return [noun]
    return [frame.format(side=laterality, head=noun) for frame in SIDE_FRAMES]


def _coupled_groups(concept: Concept) -> Iterator[_Cell]:
    form, *arguments = concept.resolver.split(":")
    for h, head in enumerate(concept.heads):
        implicitness = 2 if words(head) & set(COUPLED_NAMES[concept.subject]) else 3
        for f, frame in enumerate(COUPLED_FRAMES[form]):
            yield h + f, f"h{h}f{f}", implicitness, partial(_coupled_phrases, frame, head, form, arguments)


def _coupled_phrases(frame: str, head: str, form: str, arguments: list[str]) -> list[str]:
    """One phrase for each choice of the nouns that the target is coupled with, named ones or described ones."""
    if form in ("largest", "smallest", "uppermost", "lowermost"):
        return [frame.format(a=head)]
    if form in ("lesion_in", "largest_in"):
        return [frame.format(a=head, b=kidney, side=arguments[0]) for kidney in COUPLED_HEADS["kidney"]]
    if form in ("lesion_beside", "lesion_opposite"):
        pairs = zip(COUPLED_HEADS["kidney"], COUPLED_HEADS[arguments[1]], strict=True)
        return [frame.format(a=head, b=kidney, c=other) for kidney, other in pairs]
    return [
        frame.format(a=head, b=other, bs=f"{other}{'es' if other.endswith('s') else 's'}")
        for other in COUPLED_HEADS[arguments[0]]
    ]


def _texts(phrases: Callable[[], list[str]], be: str, split: str) -> list[str]:
    """Each phrase in each carrier of a split; a whole question needs none."""
    texts = []
    for phrase in phrases():
        if phrase.endswith("?"):
            texts += [phrase, phrase[0].upper() + phrase[1:]]
        else:
            texts += [carrier.format(x=phrase, be=be) for carrier in _carriers(split)]
    return texts


def _carriers(split: str) -> Iterator[str]:
    yield BARE_CARRIER
    yield from QUESTION_CARRIERS[split]
    for o, opener in enumerate(OPENERS):
        for v, verb in enumerate(VERBS):
            for t, tail in enumerate(TAILS):
                if split_of(1 + o + v + 3 * t) == split:
                    yield opener.format(verb=verb, Verb=verb.capitalize(), x="{x}", tail=tail)

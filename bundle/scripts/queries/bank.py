"""The query bank of the phantoms: clinical questions composed from parts, and the masks they ask for.

Types: A name, B definition, C function, D location, E look on CT, F clinical intent, G a lesion coupled to its anatomy
(side, size, count, "the kidney without a mass"), H an absent target, whose mask is empty. An absent target is asked for
in the words of types A to G: the text alone must not betray that there is nothing to find.

A text is carrier x description: "Please outline {the organ that makes bile} in this scan." All texts of a description,
whatever its head noun and carrier, form one paraphrase group, and a group belongs to one split: two thirds of the
groups to train, a sixth each to validation and test. The three are disjoint, and so are their texts. Validation and
test reuse the words of train in descriptions and carriers it does not have, because a small model cannot know a synonym
it never read; what they measure is the understanding of new wordings, not of new words.

Types B to F never name their target. Type G does so at implicitness 2 ("the kidney without a mass") and does not at
implicitness 3 ("the bean-shaped organ without a mass").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

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
from .resolvers import Selection, Unresolvable, describe, select

TYPES = tuple("ABCDEFGH")
SPLITS = ("train", "validation", "test")
IMPLICITNESS = {"A": 0, "B": 1, "D": 1, "C": 2, "E": 2, "F": 3}


@dataclass(frozen=True)
class Query:
    """A question in words, and how a label map answers it.

    Args:
        id: unique among all queries.
        target: what is asked for ("right kidney", "kidney_with:cyst"); the unit of breakdown tables.
        laterality: "right", "left", "both" or "none" (no side asked for).
        type: "A" to "H".
        implicitness: 0 (named) to 3 (clinical knowledge or coupling needed).
        resolver: see `resolvers.select`.
        split: "train", "validation" or "test".
        paraphrase_group: texts of one group are in one split.
        text: what the user says.
    """

    id: str
    target: str
    laterality: str
    type: str
    implicitness: int
    resolver: str
    split: str
    paraphrase_group: str
    text: str


class Concept(NamedTuple):
    """Something to ask for, before it has words."""

    target: str
    laterality: str
    resolver: str
    subject: str
    """key of `phrases.SUBJECTS`, or the noun of a coupled target"""

    @property
    def types(self) -> str:
        return "G" if self.resolver.partition(":")[0] in COUPLED_FRAMES else "ABCDEF"


class _Group(NamedTuple):
    key: str
    implicitness: int
    phrases: Callable[[], list[str]]
    """composes the descriptions; called for the drawn group only"""


def _whole(target: str, labels: str, subject: str, laterality: str = "none") -> Concept:
    return Concept(target, laterality, f"labels:{labels}", subject)


def _coupled(resolver: str) -> Concept:
    form, *arguments = resolver.split(":")
    noun = "kidney" if form.startswith("kidney") else arguments[-1] if form == "lesion_in" else arguments[0]
    return Concept(resolver, arguments[0] if form == "lesion_in" else "none", resolver, noun)


_KIDNEYS = (
    _whole("kidneys", "2,3", "kidneys", "both"),
    _whole("right kidney", "2", "kidney", "right"),
    _whole("left kidney", "3", "kidney", "left"),
)
_COUPLED = tuple(
    _coupled(resolver)
    for resolver in (
        *(f"{form}:{kind}" for form in ("kidney_with", "kidney_without") for kind in ("tumor", "cyst", "lesion")),
        *(f"kidney_with_more:{kind}" for kind in ("cyst", "lesion")),
        *(f"kidney_with_largest:{kind}" for kind in ("tumor", "cyst")),
        *(f"lesion_in:{side}:{kind}" for side in ("right", "left") for kind in ("tumor", "cyst", "lesion")),
        *(f"{form}:{kind}" for form in ("largest", "smallest") for kind in ("tumor", "cyst", "lesion", "kidney")),
        *(f"{form}:{pair}" for form in ("lesion_beside", "lesion_opposite") for pair in ("tumor:cyst", "cyst:tumor")),
    )
)
_ORGANS = (
    _whole("liver", "1", "liver"),
    *_KIDNEYS,
    _whole("spleen", "4", "spleen"),
    _whole("pancreas", "5", "pancreas"),
)
_WHOLE_BODY = (
    _whole("liver", "1", "liver"),
    *_KIDNEYS,
    _whole("bladder", "6", "bladder"),
    _whole("lungs", "7,8", "lungs", "both"),
    _whole("right lung", "7", "lung", "right"),
    _whole("left lung", "8", "lung", "left"),
    _whole("bone", "9", "bone"),
    _whole("brain", "10", "brain"),
)
_HEAD_NECK = (
    _whole("brainstem", "13", "brainstem"),
    _whole("spinal cord", "14", "spinal cord"),
    _whole("right parotid", "15", "parotid", "right"),
    _whole("left parotid", "16", "parotid", "left"),
    _whole("parotids", "15,16", "parotids", "both"),
    _whole("esophagus", "17", "esophagus"),
    _whole("larynx", "18", "larynx"),
    _whole("mandible", "19", "mandible"),
)
CONCEPTS: dict[str, tuple[Concept, ...]] = {
    "organs": _ORGANS,
    "whole_body": _WHOLE_BODY,
    "renal": (*_KIDNEYS, _whole("tumor", "11", "tumor"), _whole("cyst", "12", "cyst"), *_COUPLED),
    "wide": tuple(dict.fromkeys((*_ORGANS, *_WHOLE_BODY))),
    "head_neck": _HEAD_NECK,
}
"""What may be asked of each subset of phantoms; only what the subset labels, so that "absent" means absent. `head_neck`
is no phantom: it holds the organs that are drawn for radiotherapy; their ids follow those of `phantom.scan.LABELS`."""


def sample_queries(
    label: np.ndarray,
    subset: str,
    split: str,
    count: int,
    rng: np.random.Generator,
    absent_fraction: float = 0.08,
    types: Collection[str] | None = None,
    labeled: Collection[int] | None = None,
) -> list[tuple[Query, np.ndarray]]:
    """Draw questions about a label map, with the masks that answer them.

    Pairs of target and type are drawn without replacement until all are used, then again. Questions that are ambiguous
    in this volume ("the kidney with a cyst" where both have one) are never drawn.

    Args:
        label: uint8 `[X, Y, Z]` or `[S, H, W]`, ids of `phantom.scan.LABELS`, or of the `head_neck` concepts.
        subset: a key of `CONCEPTS`.
        split: "train", "validation" or "test": whose words to use.
        count: how many queries.
        rng: the only source of chance.
        absent_fraction: chance of each query to ask for an absent target (type H), where one is absent.
        types: the types to draw, all by default; without "H" no absent target is asked for, and `("H",)` asks for
            nothing else. Absent targets are worded in the other types named, or in any.
        labeled: the ids that were drawn in this patient, in the map at hand or outside its range; default: all of the
            subset. What needs another is not asked for: an organ without a contour is not drawn, never absent.

    Returns:
        `count` queries, each with its bool mask in the shape of `label`: empty for type H, and for it only.

    Raises:
        ValueError: unknown subset, split or type, or nothing that may be asked: say, no label present and no "H".
    """
    _check(subset, split, types)
    wanted = set(TYPES if types is None else types)
    present, absent = _askable(label, _known(CONCEPTS[subset], labeled), wanted)
    chance = absent_fraction if "H" in wanted and absent else 0.0
    if chance and not present:
        chance = 1.0
    if not chance and not present:
        raise ValueError(
            f"Nothing to ask: no target of subset {subset!r} and types {sorted(wanted)} is in the label map, and no "
            f"absent one may be drawn (absent_fraction={absent_fraction})."
        )
    decks: dict[bool, list[tuple[Concept, str, Selection]]] = {False: [], True: []}
    drawn = []
    for is_absent in rng.random(count) < chance:
        deck = decks[bool(is_absent)]
        if not deck:
            source = absent if is_absent else present
            deck.extend(source[i] for i in rng.permutation(len(source)))
        concept, query_type, selection = deck.pop()
        query = _draw(concept, query_type, split, rng)
        drawn.append((_as_absent(query) if is_absent else query, selection.mask(label)))
    return drawn


def query_bank(subset: str, split: str, types: Collection[str] | None = None) -> Iterator[Query]:
    """Every query of a subset and split, types A to G (type H is worded like these)."""
    _check(subset, split, types)
    for concept in CONCEPTS[subset]:
        for query_type in concept.types:
            if types is None or query_type in types:
                for group in _groups(concept, query_type, split):
                    for number, text in enumerate(_texts(concept, group, split)):
                        yield _query(concept, query_type, split, group, number, text)


def all_texts(split: str) -> Iterator[str]:
    """Every text of a split, all subsets together, each once: the corpus of the small tokenizer."""
    concepts = dict.fromkeys(concept for subset in CONCEPTS.values() for concept in subset)
    for concept in concepts:
        for query_type in concept.types:
            for group in _groups(concept, query_type, split):
                yield from _texts(concept, group, split)


def content_words(text: str) -> set[str]:
    """The words of a text that say which target is meant: lower case, without carrier and grammar words."""
    return words(text) - STOP_WORDS


def words(text: str) -> set[str]:
    """All words of a text, lower case; a hyphen parts words, an apostrophe does not."""
    return set("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())


def _check(subset: str, split: str, types: Collection[str] | None) -> None:
    for name, value, legal in (("subset", subset, tuple(CONCEPTS)), ("split", split, SPLITS)):
        if value not in legal:
            raise ValueError(f"Unknown {name} {value!r}; legal are {', '.join(legal)}.")
    unknown = set(types or ()) - set(TYPES)
    if unknown or (types is not None and not types):
        raise ValueError(f"Unknown query types {sorted(unknown)}; types takes some of {', '.join(TYPES)}, or None.")


_Askable = list[tuple[Concept, str, Selection]]


def _known(concepts: Sequence[Concept], labeled: Collection[int] | None) -> Sequence[Concept]:
    """The concepts of which all labels were drawn in this patient; coupled ones are not for such patients."""
    if labeled is None:
        return concepts
    needed = {c: c.resolver.removeprefix("labels:").split(",") for c in concepts if c.types != "G"}
    return [concept for concept, ids in needed.items() if set(map(int, ids)) <= set(labeled)]


def _askable(label: np.ndarray, concepts: Sequence[Concept], wanted: set[str]) -> tuple[_Askable, _Askable]:
    """All (concept, type, selection) with a target in the label map, and those without."""
    anatomy = describe(label)
    worded = wanted - {"H"} or set(TYPES)
    present: _Askable = []
    absent: _Askable = []
    for concept in concepts:
        try:
            selection = select(concept.resolver, anatomy)
        except Unresolvable:
            continue
        found = any(selection)
        if found and wanted == {"H"}:
            continue
        (present if found else absent).extend((concept, t, selection) for t in concept.types if t in worded)
    return present, absent


def _draw(concept: Concept, query_type: str, split: str, rng: np.random.Generator) -> Query:
    groups = list(_groups(concept, query_type, split))
    group = groups[rng.integers(len(groups))]
    texts = list(_texts(concept, group, split))
    number = int(rng.integers(len(texts)))
    return _query(concept, query_type, split, group, number, texts[number])


def _query(concept: Concept, query_type: str, split: str, group: _Group, number: int, text: str) -> Query:
    return Query(
        id=f"{group.key}/{number}",
        target=concept.target,
        laterality=concept.laterality,
        type=query_type,
        implicitness=group.implicitness,
        resolver=concept.resolver,
        split=split,
        paraphrase_group=group.key,
        text=text,
    )


def _as_absent(query: Query) -> Query:
    return replace(query, id=f"absent/{query.id}", type="H")


def _split_of(index: int) -> str:
    """Every sixth group is for test, and every sixth for validation.

    Two apart, because no two of `FACT_FRAMES` two apart tell a fact in the same form: each form stays in train.
    """
    return {0: "test", 2: "validation"}.get(index % 6, "train")


def _groups(concept: Concept, query_type: str, split: str) -> Iterator[_Group]:
    """The paraphrase groups of a concept and type that belong to a split.

    Split like a Latin square: each frame is held out with some facts and each fact in some frames, so that both are
    known from train and only their meeting is new.
    """
    compose = {"A": _name_groups, "G": _coupled_groups}.get(query_type)
    groups = compose(concept) if compose else _fact_groups(concept, query_type)
    for index, name, implicitness, phrases in groups:
        if _split_of(index) == split:
            yield _Group(f"{concept.target}/{query_type}/{name}", implicitness, phrases)


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
    for h, head in enumerate(COUPLED_HEADS[concept.subject]):
        implicitness = 2 if words(head) & set(COUPLED_NAMES[concept.subject]) else 3
        for f, frame in enumerate(COUPLED_FRAMES[form]):
            yield h + f, f"h{h}f{f}", implicitness, partial(_coupled_phrases, frame, head, form, arguments)


def _coupled_phrases(frame: str, head: str, form: str, arguments: list[str]) -> list[str]:
    """One phrase for each choice of the nouns that the target is coupled with, named ones or described ones."""
    if form in ("largest", "smallest"):
        return [frame.format(a=head)]
    if form == "lesion_in":
        return [frame.format(a=head, b=kidney, side=arguments[0]) for kidney in COUPLED_HEADS["kidney"]]
    if form in ("lesion_beside", "lesion_opposite"):
        pairs = zip(COUPLED_HEADS["kidney"], COUPLED_HEADS[arguments[1]], strict=True)
        return [frame.format(a=head, b=kidney, c=other) for kidney, other in pairs]
    return [
        frame.format(a=head, b=other, bs=f"{other}{'es' if other.endswith('s') else 's'}")
        for other in COUPLED_HEADS[arguments[0]]
    ]


def _texts(concept: Concept, group: _Group, split: str) -> Iterator[str]:
    be = "are" if concept.types != "G" and SUBJECTS[concept.subject].plural else "is"
    for phrase in group.phrases():
        if phrase.endswith("?"):
            yield phrase
            yield phrase[0].upper() + phrase[1:]
        else:
            for carrier in _carriers(split):
                yield carrier.format(x=phrase, be=be)


def _carriers(split: str) -> Iterator[str]:
    yield BARE_CARRIER
    yield from QUESTION_CARRIERS[split]
    for o, opener in enumerate(OPENERS):
        for v, verb in enumerate(VERBS):
            for t, tail in enumerate(TAILS):
                if _split_of(1 + o + v + 3 * t) == split:
                    yield opener.format(verb=verb, Verb=verb.capitalize(), x="{x}", tail=tail)

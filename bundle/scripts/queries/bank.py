"""The query bank of the phantoms: clinical questions composed from parts, and the masks they ask for.

Types: A name, B definition, C function, D location, E look on CT, F clinical intent, G a lesion coupled to its anatomy
(side, size, count, "the kidney without a mass"), H an absent target, whose mask is empty. An absent target is asked for
in the words of types A to G: the text alone must not betray that there is nothing to find.

Types B to F never name their target. Type G does so at implicitness 2 ("the kidney without a mass") and does not at
implicitness 3 ("the bean-shaped organ without a mass").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .concepts import CONCEPTS, Concept
from .lesions import describe
from .resolvers import Selection, Unresolvable, select
from .wording import Group, check_split, paraphrase_groups

TYPES = tuple("ABCDEFGH")


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
                for group in paraphrase_groups(concept, query_type, split):
                    for number, text in enumerate(group.texts()):
                        yield _query(concept, query_type, split, group, number, text)


def all_texts(split: str) -> Iterator[str]:
    """Every text of a split, all subsets together, each once: the corpus of the small tokenizer."""
    concepts = dict.fromkeys(concept for subset in CONCEPTS.values() for concept in subset)
    for concept in concepts:
        for query_type in concept.types:
            for group in paraphrase_groups(concept, query_type, split):
                yield from group.texts()


def _check(subset: str, split: str, types: Collection[str] | None) -> None:
    if subset not in CONCEPTS:
        raise ValueError(f"Unknown subset {subset!r}; legal are {', '.join(CONCEPTS)}.")
    check_split(split)
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
    groups = list(paraphrase_groups(concept, query_type, split))
    group = groups[rng.integers(len(groups))]
    texts = group.texts()
    number = int(rng.integers(len(texts)))
    return _query(concept, query_type, split, group, number, texts[number])


def _query(concept: Concept, query_type: str, split: str, group: Group, number: int, text: str) -> Query:
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

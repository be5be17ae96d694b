"""Questions about a real label map, in the words of the bank and of the user, as entries of a datalist.

The sentences and splits are those of the phantoms and some more (`concepts.REAL_CONCEPTS`, `wording`), with two
differences. Type G never names its target: only descriptions of implicitness 3 are used ("the bean-shaped organ without
a mass"). And the answer is a union of values of `label_parts`, so that one label map serves all questions of a case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .concepts import REAL_CONCEPTS, Concept
from .label_parts import NO_VALUE, LabelParts
from .resolvers import Unresolvable
from .wording import Group, check_split, paraphrase_groups

WORDED_TYPES = tuple("ABCDEFG")


class Paraphrases(NamedTuple):
    """What may be said of a target in a split."""

    target: str
    laterality: str
    resolver: str
    """see `resolvers.select`; empty for the union of `names`"""
    names: tuple[str, ...]
    """names of the label map (`label_parts`), for a target of the user's"""
    groups: Mapping[str, Sequence[Group]]
    """by type, A to G"""


class Dropped(NamedTuple):
    """A target that was not asked for in a case, and why."""

    target: str
    reason: str


class RealQuestions(NamedTuple):
    """Entries of a datalist without `image` and `label`, and what was not asked."""

    entries: list[dict[str, Any]]
    dropped: list[Dropped]


def bank_paraphrases(split: str, types: Collection[str] = WORDED_TYPES) -> list[Paraphrases]:
    """The bank's own sentences for real label maps.

    Args:
        split: "train", "validation" or "test": whose words to use.
        types: of the sentences, some of A to G.

    Raises:
        ValueError: unknown split or type.
    """
    check_split(split)
    unknown = set(types) - set(WORDED_TYPES)
    if unknown or not types:
        raise ValueError(f"Unknown query types {sorted(unknown)}; legal are some of {', '.join(WORDED_TYPES)}.")
    found = []
    for concept in REAL_CONCEPTS:
        groups = {kind: _groups(concept, kind, split) for kind in concept.types if kind in types}
        if groups:
            found.append(Paraphrases(concept.target, concept.laterality, concept.resolver, (), groups))
    return found


def real_questions(
    parts: LabelParts,
    paraphrases: Sequence[Paraphrases],
    per_target: int,
    rng: np.random.Generator,
    negatives: float = 0.1,
) -> RealQuestions:
    """Draw questions about a label map.

    Each target that is there is asked for `per_target` times, in its types by turns and in a different paraphrase group
    as long as there is one. A target is asked only where all labels that its answer needs were drawn. One that is
    ambiguous in this patient is dropped with the reason.

    Args:
        parts: the label map.
        paraphrases: of a split, as `bank_paraphrases` makes them, and the user's (`own_targets`).
        per_target: questions for each target.
        rng: the only source of chance.
        negatives: part of all questions that ask for what is not there (type H), 0 to less than 1; rounded up or down
            by chance, so that the part holds over many cases. Fewer where too little is absent: each absent target is
            asked for at most `per_target` times; if none is present, all are, and the part cannot hold.

    Returns:
        Entries with `query`, `target`, `type`, `laterality`, `implicitness`, `paraphrase_group` and `label_values`
        (`[NO_VALUE]` for what is absent), and the dropped targets.

    Raises:
        ValueError: per_target < 1 or negatives outside its range.
    """
    if per_target < 1 or not 0.0 <= negatives < 1.0:
        raise ValueError(
            f"per_target must be >= 1 and negatives in 0 to less than 1, got {per_target} and {negatives}."
        )
    present, absent, dropped = _answered(parts, paraphrases)
    entries = [entry for one, values in present for entry in _drawn(one, values, per_target, rng)]
    wanted = len(entries) * negatives / (1 - negatives) if present else float(bool(negatives)) * len(absent)
    number = int(wanted) + int(rng.random() < wanted % 1)
    spare = [entry for one in absent for entry in _drawn(one, [NO_VALUE], per_target, rng)]
    return RealQuestions([*entries, *_spread(spare, number, per_target, rng)], dropped)


def _groups(concept: Concept, query_type: str, split: str) -> list[Group]:
    groups = paraphrase_groups(concept, query_type, split)
    return [group for group in groups if query_type != "G" or group.implicitness == 3]


def _answered(
    parts: LabelParts, paraphrases: Sequence[Paraphrases]
) -> tuple[list[tuple[Paraphrases, list[int]]], list[Paraphrases], list[Dropped]]:
    """What is there, with its values; what is not there; what cannot be told, or has no words."""
    present, absent, dropped = [], [], []
    said: set[str] = set()
    for one in paraphrases:
        said.update(one.names)
        resolver = one.resolver or parts.union_of(one.names)
        if not resolver:
            dropped.append(Dropped(one.target, f"the label map has no names {', '.join(map(repr, one.names))}."))
        if not resolver or not parts.was_drawn(resolver):
            continue
        try:
            values = parts.values_of(resolver)
        except Unresolvable as error:
            dropped.append(Dropped(one.target, str(error)))
            continue
        if values:
            present.append((one, values))
        else:
            absent.append(one)
    silent = [name for name in parts.own_names if name not in said]
    dropped += [Dropped(name, "the query bank has no sentences for it; give some in queries_file.") for name in silent]
    return present, absent, dropped


def _drawn(one: Paraphrases, values: list[int], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Questions for one target: its types by turns, and the groups of a type by turns."""
    types = rng.permutation(list(one.groups)).tolist()
    turns = {kind: rng.permutation(len(one.groups[kind])) for kind in types}
    entries = []
    for number in range(count):
        kind = types[number % len(types)]
        group = one.groups[kind][turns[kind][number // len(types) % len(turns[kind])]]
        texts = group.texts()
        entries.append(
            {
                "query": texts[rng.integers(len(texts))],
                "target": one.target,
                "type": "H" if values == [NO_VALUE] else kind,
                "laterality": one.laterality,
                "implicitness": group.implicitness,
                "paraphrase_group": group.key,
                "label_values": values,
            }
        )
    return entries


def _spread(
    spare: list[dict[str, Any]], number: int, per_target: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """`number` of the questions at most: each target once before one is asked for again."""
    rounds = [spare[turn::per_target] for turn in range(per_target)]
    return [one[i] for one in rounds for i in rng.permutation(len(one))][:number]

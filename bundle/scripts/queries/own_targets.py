"""Targets and sentences of the user's own, from a JSON file beside the bank's.

The file is a list of targets (`own_targets.schema.json`):

    [
      {"target": "gallbladder", "synonyms": ["cholecyst"], "sentences": {"C": [["what stores bile?"], ...]}},
      {"target": "kidney and masses", "labels": ["kidney", "kidney tumor", "kidney cyst"], "sentences": {...}},
      {"target": "liver", "sentences": {"F": [["the organ to check before a shunt from cirrhosis"], ...]}}
    ]

A target is the union of labels of the data set, by their names. One that the bank knows has its labels there; its new
sentences stand beside the bank's. Sentences are whole questions, kept verbatim. Each inner list is a paraphrase group,
and its place says the split: of six groups the first is for test, the third for validation, the others for training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from ..json_list import read_json_list
from .concepts import REAL_CONCEPTS
from .phrases import COUPLED_NAMES, SUBJECTS
from .real_bank import Paraphrases, bank_paraphrases
from .wording import IMPLICITNESS, SPLITS, Group, split_of, words

_SCHEMA = Path(__file__).with_name("own_targets.schema.json")
_CONCEPTS = {concept.target: concept for concept in REAL_CONCEPTS}
_OWN_TYPES = "ABCDEF"


class OwnTarget(NamedTuple):
    """An entry of the file; `labels` and `laterality` are of no use for a target of the bank."""

    target: str
    labels: tuple[str, ...]
    laterality: str
    synonyms: tuple[str, ...]
    sentences: dict[str, list[list[str]]]


class OwnTargetsError(ValueError):
    """A file of own targets that cannot be used."""


def all_paraphrases(split: str, own: Sequence[OwnTarget] = ()) -> list[Paraphrases]:
    """What may be said of each target in a split, by the bank and by the user.

    Args:
        split: "train", "validation" or "test".
        own: of the user, as `read_own_targets` gives them.

    Raises:
        ValueError: unknown split.
    """
    found = {one.target: one for one in bank_paraphrases(split)}
    for one in own:
        groups = {kind: _groups(one.target, kind, texts, split) for kind, texts in one.sentences.items()}
        if one.target in found:
            known = found[one.target]
            joined = {kind: [*known.groups[kind], *groups.get(kind, [])] for kind in known.groups}
            found[one.target] = known._replace(groups=joined)
        else:
            found[one.target] = Paraphrases(one.target, one.laterality, "", one.labels, groups)
    return list(found.values())


def read_own_targets(path: str | Path) -> list[OwnTarget]:
    """Reads and checks the user's file.

    Raises:
        OwnTargetsError: no such file, not JSON, or against the schema; a target twice; labels or a side for a target of
            the bank; a type that the target has not; a sentence of types B to G that holds the target's name or a
            synonym; a text that stands twice, or in the bank for another target or split. The message says where.
    """
    path = Path(path)
    wanted = "a JSON list of targets, see bundle/docs/own_targets.md"
    entries = read_json_list(path, "the file of own targets", "config key `queries_file`", wanted, OwnTargetsError)
    _check_schema(entries, path)
    own = [_target(entry) for entry in entries]
    for number, (entry, one) in enumerate(zip(entries, own, strict=True), start=1):
        where = f'entry {number} of {path}, "target" {one.target!r}'
        if one.target in [other.target for other in own[: number - 1]]:
            raise OwnTargetsError(f"{where}, stands there already; give each target one entry.")
        _check_kind(entry, one, where)
        _check_names(one, where)
    _check_texts(own, path)
    return own


def _target(entry: dict[str, Any]) -> OwnTarget:
    return OwnTarget(
        target=entry["target"],
        labels=tuple(entry.get("labels", [entry["target"]])),
        laterality=entry.get("laterality", "none"),
        synonyms=tuple(entry.get("synonyms", [])),
        sentences=entry["sentences"],
    )


def _check_schema(entries: list[Any], path: Path) -> None:
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(entries))
    if error is None:
        return
    place = [*error.absolute_path]
    inside = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place[1:]).lstrip(".")
    where = f"entry {place[0] + 1}" if place else "the list"
    legal = error.schema["description"]
    raise OwnTargetsError(f"{path}: {where}{', at ' + inside if inside else ''}: {error.message}; give {legal}.")


def _check_kind(entry: dict[str, Any], one: OwnTarget, where: str) -> None:
    """That a target of the bank is taken as it is, and asked in the types that it has."""
    concept = _CONCEPTS.get(one.target)
    given = sorted({"labels", "laterality"} & set(entry))
    if concept and given:
        raise OwnTargetsError(f'{where}, is one of the bank, which knows its labels and side; leave out "{given[0]}".')
    legal = concept.types if concept else _OWN_TYPES
    for kind in one.sentences:
        if kind not in legal:
            raise OwnTargetsError(f"{where}, has sentences of type {kind}; it takes some of {', '.join(legal)}.")


def _check_names(one: OwnTarget, where: str) -> None:
    concept = _CONCEPTS.get(one.target)
    names = [*one.synonyms]
    if concept:
        names += COUPLED_NAMES[concept.subject] if concept.types == "G" else SUBJECTS[concept.subject].forbidden
    else:
        names.append(one.target)
    for kind, group, text in _texts(one):
        named = next((name for name in names if kind != "A" and _holds(text, name)), None)
        if named is not None:
            raise OwnTargetsError(
                f"{where}, names its target in sentences.{kind}[{group}], {text!r}: only type A may hold {named!r} "
                "or another synonym."
            )


def _holds(text: str, name: str) -> bool:
    """Whether the words of a name stand in a text, all of them: the order may differ ("gland of the adrenals")."""
    return words(name) <= words(text)


def _check_texts(own: Sequence[OwnTarget], path: Path) -> None:
    """That a text means one thing and belongs to one group."""
    seen = {
        _bare(text): (one.target, split, "the bank")
        for split in SPLITS
        for one in bank_paraphrases(split)
        for groups in one.groups.values()
        for group in groups
        for text in group.texts()
    }
    for one in own:
        for kind, group, text in _texts(one):
            split = split_of(group)
            here = (one.target, split, f"sentences.{kind}[{group}]")
            known = seen.setdefault(_bare(text), here)
            if known not in (here, (one.target, split, "the bank")):
                raise OwnTargetsError(
                    f"{path}: {text!r} stands in {here[2]} of {one.target!r} ({split}) and in {known[2]} of "
                    f"{known[0]!r} ({known[1]}); a text may stand in one paraphrase group only."
                )


def _bare(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".?! ")


def _texts(one: OwnTarget) -> Iterator[tuple[str, int, str]]:
    """Type, number of the group, and text."""
    for kind, groups in one.sentences.items():
        for number, texts in enumerate(groups):
            for text in texts:
                yield kind, number, text


def _groups(target: str, kind: str, sentences: list[list[str]], split: str) -> list[Group]:
    implicitness = IMPLICITNESS.get(kind, 3)
    return [
        Group(f"{target}/{kind}/own{number}", implicitness, partial(list, texts))
        for number, texts in enumerate(sentences)
        if split_of(number) == split
    ]

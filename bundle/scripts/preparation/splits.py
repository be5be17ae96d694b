"""Training, validation and test by patient: whoever appears in several data sets is on one side of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from .fingerprint import Fingerprint, same_patients

# Where a patient goes whose cases stand on several sides of official splits: what was held out stays held out.
SPLITS = ("test", "validation", "training")


class PatientSplit(NamedTuple):
    """Which case is on which side, and what the report tells of it.

    `of_case`: case -> one of `SPLITS`, in the order of the cases. `joined`: pairs of cases with different patients that
    are one scan. `moved`: case -> its official split, where a patient with cases on several sides took it elsewhere.
    """

    of_case: dict[str, str]
    joined: list[tuple[str, str]]
    moved: dict[str, str]


def split_patients(
    cases: Mapping[str, str],
    fingerprints: Mapping[str, Fingerprint],
    official: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
) -> PatientSplit:
    """Splits cases so that no patient is on two sides.

    Cases are of one patient if they name the same one or if their fingerprints match, directly or through others.
    A patient with a case in an official test goes there with all cases, then likewise with validation. Official
    training cases are divided into training and validation, unless there is an official validation. The others are
    divided by all fractions. Patients are drawn, not cases: of n patients a fraction f receives round(f n), at
    least one where f is above 0 and there are as many patients as sides. The result depends on the names, the seed and
    what is asked for, not on the order of the cases.

    Args:
        cases: case -> patient; the names of patients of different data sets differ.
        fingerprints: case -> fingerprint; a case without one is joined by its patient alone.
        official: case -> one of `SPLITS`, for those that have one.
        fractions: `{"training": 0.8, "validation": 0.1, "test": 0.1}` or other shares that sum to 1.
        seed: of the draw.

    Raises:
        ValueError: fractions that are no shares of the three sides, an official split that is none of them, or a case
            of `official` or `fingerprints` that is not among the cases.
    """
    _check(cases, fingerprints, official, fractions)
    matches = same_patients({case: fingerprints[case] for case in cases if case in fingerprints})
    groups = _groups(cases, matches)
    fixed, from_training, free = {}, [], []
    has_validation = "validation" in official.values()
    for number, group in enumerate(groups):
        sides = {official[case] for case in group if case in official}
        side = next((side for side in SPLITS if side in sides), None)
        if side is None:
            free.append(number)
        elif side == "training" and not has_validation:
            from_training.append(number)
        else:
            fixed[number] = side
    rng = np.random.default_rng(seed)
    known = {side: fractions[side] for side in ("validation", "training")}
    side_of = fixed | _drawn(from_training, known, rng) | _drawn(free, fractions, rng)
    chosen = {case: side_of[number] for number, group in enumerate(groups) for case in group}
    return PatientSplit(
        of_case={case: chosen[case] for case in cases},
        joined=[(a, b) for a, b in matches if cases[a] != cases[b]],
        moved={case: official[case] for case in cases if _is_moved(official.get(case), chosen[case], has_validation)},
    )


def _is_moved(official: str | None, chosen: str, has_validation: bool) -> bool:
    """Whether a case left its official split; validation drawn from training is no such case."""
    within = chosen == "validation" and official == "training" and not has_validation
    return official is not None and official != chosen and not within


def _groups(cases: Mapping[str, str], matches: list[tuple[str, str]]) -> list[list[str]]:
    """The cases of each patient, all in the order of their names."""
    names = sorted(cases)
    number = {name: n for n, name in enumerate(names)}
    first_of: dict[str, str] = {}
    links = [(first_of.setdefault(cases[name], name), name) for name in names] + matches
    ends = np.array([(number[a], number[b]) for a, b in links], int).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(ends)), ends.T), shape=(len(names), len(names)))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    groups: dict[int, list[str]] = {}
    for name, of in zip(names, component, strict=True):
        groups.setdefault(int(of), []).append(name)
    return list(groups.values())


def _drawn(numbers: list[int], fractions: Mapping[str, float], rng: np.random.Generator) -> dict[int, str]:
    """Each number's side; training takes what the others leave."""
    total = sum(fractions.values())
    order = rng.permutation(numbers).tolist()
    enough = len(order) >= sum(share > 0 for share in fractions.values())
    side_of = dict.fromkeys(order, "training")
    start = 0
    for side in SPLITS[:-1]:
        share = fractions.get(side, 0.0) / total if total else 0.0
        count = max(round(share * len(order)), int(share > 0 and enough))
        side_of |= dict.fromkeys(order[start : start + count], side)
        start += count
    return side_of


def _check(
    cases: Mapping[str, str],
    fingerprints: Mapping[str, Fingerprint],
    official: Mapping[str, str],
    fractions: Mapping[str, float],
) -> None:
    if sorted(fractions) != sorted(SPLITS) or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(
            f"the fractions are {dict(fractions)}; give training, validation and test, none below 0, with the sum 1 "
            "(config key `fractions`)"
        )
    for case in (*official, *fingerprints):
        if case not in cases:
            raise ValueError(f"there is a split or fingerprint of {case!r}, which is not among the {len(cases)} cases")
    for case, side in official.items():
        if side not in SPLITS:
            raise ValueError(f"the official split of {case!r} is {side!r}; {', '.join(SPLITS)} are legal")

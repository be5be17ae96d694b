"""How many of a volume's queries have a target that is not on the shown slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def check_absent_fraction(absent_fraction: float | None) -> None:
    """Raises ValueError if it is neither None nor a share below 1."""
    if absent_fraction is not None and not 0 <= absent_fraction < 1:
        raise ValueError(
            f"absent_fraction is {absent_fraction}; a share from 0 to below 1 is legal, or null for all queries"
        )


def asked_queries(seen: Sequence[bool], absent_fraction: float, rng: np.random.Generator) -> list[int]:
    """Which queries of a volume are asked, so that a share of them has the answer "not present".

    A target that is in the volume but lies between the shown slices counts like one that is not there: the model is
    shown neither. Both are drawn at random from the volume's queries; all others are asked.

    Args:
        seen: for each query, whether its target is on a shown slice.
        absent_fraction: f, 0 <= f < 1. With n targets seen, f / (1 - f) * n queries of the other kind are asked, up or
            down to a whole number at random so that the mean is kept; fewer if there are not so many, and one if no
            target is seen.
        rng: of the draw.

    Returns:
        Positions in `seen`, ascending.
    """
    present, unseen = np.flatnonzero(seen), np.flatnonzero(~np.asarray(seen, bool))
    wanted = int(absent_fraction / (1 - absent_fraction) * len(present) + rng.random())
    count = min(wanted, len(unseen)) if len(present) else 1
    return sorted([*present.tolist(), *rng.choice(unseen, count, replace=False).tolist()])

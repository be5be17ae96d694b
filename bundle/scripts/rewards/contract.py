"""What a reward is given and gives: TRL's contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Reward = Callable[..., Sequence[float | None]]


@dataclass(frozen=True)
class RewardRecord:
    """What a reward gave, with what it is made of.

    Args:
        totals: what is optimised, one a completion; None where nothing applies.
        terms: the values of each term, unweighted, in the order of the completions; None where it does not apply.
        best: the largest possible total, None where that is not known.
    """

    totals: list[float | None]
    terms: dict[str, list[float | None]]
    best: float | None


def record_of(reward: Reward, completions: Sequence[Any], **columns: Any) -> RewardRecord:
    """What any reward gives: with its terms if it has such, else its values alone.

    >>> record_of(lambda completions, **columns: [float(len(text)) for text in completions], ["a", "bcd"])
    RewardRecord(totals=[1.0, 3.0], terms={}, best=None)

    Args:
        reward: of TRL's contract; what also has the method `record` says its terms.
        completions, columns: see the package.

    Raises:
        ValueError: a value that is not a finite number, or not one value for each completion.
    """
    if hasattr(reward, "record"):
        return reward.record(completions=completions, **columns)
    name = getattr(reward, "__name__", type(reward).__name__)
    values = reward(completions=completions, **columns)
    return RewardRecord(totals=checked_values(name, values, len(completions)), terms={}, best=None)


def completion_text(completion: Any) -> Any:
    """The text in TRL's list of one message, whose content may be a list of one part; the parser refuses the rest."""
    for key in ("content", "text"):
        if isinstance(completion, list) and len(completion) == 1 and isinstance(completion[0], dict):
            completion = completion[0].get(key)
    return completion


def checked_values(name: str, values: Sequence[float | None], count: int) -> list[float | None]:
    """The values that the reward of this name gave for so many completions.

    Raises:
        ValueError: as `record_of`.
    """
    if len(values) != count:
        raise ValueError(f"The reward {name!r} gave {len(values)} values for {count} completions.")
    for i, value in enumerate(values):
        if value is not None and not math.isfinite(value):
            raise ValueError(
                f"The reward {name!r} of completion {i} is {value}; it must be a finite number, or None where it does "
                "not apply."
            )
    return [None if value is None else float(value) for value in values]

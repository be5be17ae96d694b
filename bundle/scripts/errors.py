"""An error whose reason is one of a closed list, so that failures can be counted."""

from __future__ import annotations


class ReasonedError(ValueError):
    """Bad input with a typed reason; a subclass says which reasons there are.

    Args:
        reason: one of `reasons`.
        message: what was found, what is legal, what to change.

    Raises:
        ValueError: a reason that is not in the list.
    """

    reasons: tuple[str, ...] = ()

    def __init__(self, reason: str, message: str) -> None:
        if reason not in self.reasons:
            raise ValueError(f"reason {reason!r} must be one of {self.reasons}")
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        # The default would call the class with the message alone, and fail to cross a process boundary.
        return type(self), (self.reason, str(self))

"""An error whose reason is one of a closed list, so that failures can be counted; what to tell of any error."""

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


def message_of(error: BaseException) -> str:
    """What our code said, without MONAI's wrapping: the message of the first error in the chain that is no
    RuntimeError, or of the last one; the type where there is no message."""
    while error.__cause__ is not None and isinstance(error, RuntimeError):
        error = error.__cause__
    return str(error) or type(error).__name__


def failure_of(error: BaseException, case: str) -> dict[str, str]:
    """What to tell of an error: `case`, `reason` and `message`.

    MONAI wraps what a transform raises. The reason is that of the first error in the chain that has one (`VolumeError`,
    `QueryError`), else the type of the innermost.
    """
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    for link in chain:
        reason = getattr(link, "reason", None)
        if isinstance(reason, str):
            return {"case": case, "reason": reason, "message": str(link)}
    return {"case": case, "reason": type(chain[-1]).__name__, "message": str(chain[-1])}

"""The status of an answer, as a person reads it."""

from __future__ import annotations

_WORDS = {"ok": "found", "absent": "not in this scan", "abstained": "not sure: the answers disagree"}


def in_words(status: str) -> str:
    """What `status` of the evidence means: "found", "not in this scan", "not sure: the answers disagree", or that the
    model gave no valid answer, with the reason of `anchor.FAILURE_REASONS`."""
    return _WORDS.get(status, f"no valid answer ({status})")

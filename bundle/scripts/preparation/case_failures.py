"""Why a case that was found cannot be prepared."""

from __future__ import annotations

from ..errors import ReasonedError

CASE_FAILURES = ("wrong_spacing", "unknown_axes", "bad_array", "unknown_label", "no_target")


class CaseError(ReasonedError):
    """A case that cannot be prepared; its reasons are CASE_FAILURES. What reading finds are those of `VolumeError`."""

    reasons = CASE_FAILURES

"""Why the service refuses something."""

from __future__ import annotations

from ..errors import ReasonedError

SERVICE_FAILURES = (
    "unknown_study",
    "unknown_mask",
    "unknown_request",
    "unknown_path",  # nothing that may be opened is there, whatever else may be
    "unknown_plane",
    "unknown_slice",
    "unknown_format",
    "bad_name",
    "name_taken",
    "bad_window",
    "bad_boxes",
    "bad_points",
    "key_slice_not_shown",
    "nothing_to_undo",
    "not_dicom",
    "not_a_study",
    "too_large",
    "too_many_files",
    "too_many_studies",
    "too_many_masks",
    "too_many_requests",
)


class ServiceError(ReasonedError):
    """What was asked for cannot be done; its reasons are SERVICE_FAILURES."""

    reasons = SERVICE_FAILURES

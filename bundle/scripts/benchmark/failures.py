"""Why a saved mask cannot be scored."""

from __future__ import annotations

from ..errors import ReasonedError

MASK_FAILURES = (
    "missing_mask",
    "not_an_archive",
    "missing_array",
    "not_3d",
    "not_labels",
    "no_label_value",
    "label_value_absent",
    "no_affine",
    "identity_affine",
    "other_shape",
    "other_space",
    "missing_sidecar",
    "bad_sidecar",
)


class MaskError(ReasonedError):
    """A saved mask that cannot be scored; its reasons are MASK_FAILURES."""

    reasons = MASK_FAILURES

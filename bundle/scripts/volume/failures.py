"""Why a volume cannot be used."""

from __future__ import annotations

from ..errors import ReasonedError
from ..images.failures import IMAGE_FAILURES

VOLUME_FAILURES = (
    "missing_file",
    "not_nifti",
    "not_3d",
    "several_channels",
    "bad_header",
    "bad_spacing",
    "singular_affine",
    "non_finite_voxels",
    "constant_volume",
    "label_mismatch",
    # Of DICOM alone:
    "no_ct_series",
    "several_series",
    "mixed_slices",
    "duplicate_slices",
    "missing_slices",
    "uneven_slices",
    "not_hu",
    # Of images, and of others as well where the word fits:
    *IMAGE_FAILURES,
)


class VolumeError(ReasonedError):
    """A volume that cannot be used; its reasons are VOLUME_FAILURES."""

    reasons = VOLUME_FAILURES

"""Why an image file cannot be used."""

from __future__ import annotations

from ..errors import ReasonedError

IMAGE_FAILURES = ("not_an_image", "truncated_file", "several_frames", "too_large", "cannot_decode", "not_labels")


class ImageError(ReasonedError):
    """An image file that cannot be used; its reasons are IMAGE_FAILURES."""

    reasons = IMAGE_FAILURES

"""How a failure looks by HTTP."""

from __future__ import annotations

from starlette.responses import JSONResponse

from ..errors import ReasonedError
from ..service.failures import SERVICE_FAILURES
from ..volume.failures import VOLUME_FAILURES
from ..volume.query_text import QUERY_FAILURES

WEB_FAILURES = ("wrong_key", "missing_header", "bad_request", "unknown_address", "body_too_large", "internal")
STATUS = {
    "missing_header": 400,
    "wrong_key": 401,
    **dict.fromkeys((reason for reason in SERVICE_FAILURES if reason.startswith("unknown_")), 404),
    "unknown_address": 404,
    "missing_file": 404,
    **dict.fromkeys(("name_taken", "nothing_to_undo", "not_dicom"), 409),
    **dict.fromkeys(("too_large", "too_many_files", "body_too_large"), 413),
    **dict.fromkeys(("too_many_studies", "too_many_masks", "too_many_requests"), 429),
    "internal": 500,
}
"""The status of a reason; those that are not named are 422."""

REASONS = frozenset((*WEB_FAILURES, *SERVICE_FAILURES, *VOLUME_FAILURES, *QUERY_FAILURES))
"""All that an answer can name; `too_large` says the same of a study as of an image."""


class WebError(ReasonedError):
    """A request that is refused before it reaches the service; its reasons are WEB_FAILURES."""

    reasons = WEB_FAILURES


def failure_response(reason: str, message: str) -> JSONResponse:
    """The answer to a request that failed."""
    return JSONResponse({"error": {"reason": reason, "message": message}}, STATUS.get(reason, 422))

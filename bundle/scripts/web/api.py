"""The application: the calls, the page, and what stands in front of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from ..errors import failure_of
from ..report.dicom_seg import NAME, VERSION
from ..service.segmentation_service import SegmentationService
from .bodies import in_words
from .calls import calls
from .failures import REASONS, failure_response
from .owners import Owners
from .protection import Protection

_logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# A form is longer than the file in it.
_FORM_BYTES = 2**16


def create_app(service: SegmentationService, key: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The application for one service, which it shuts down when it ends.

    Args:
        service: does the work.
        key: that users must know; None: none.
        hosts: names by which it may be called; another site's name for this address is refused. "*": any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.shut_down)

    # The documents of FastAPI load scripts from elsewhere: the description alone is served.
    app = FastAPI(
        title=NAME, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url="/api/openapi.json",
    )  # fmt: skip
    owners = Owners(key)
    app.state.service, app.state.owners = service, owners
    app.include_router(calls)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _refused)
    for kind in (ValueError, RuntimeError, ImportError):
        app.add_exception_handler(kind, partial(_failed, service))
    app.add_exception_handler(Exception, partial(_failed, service))
    app.add_middleware(Protection, owners=owners, longest_upload=service.uploads.most_bytes + _FORM_BYTES)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    if PAGE.is_dir():
        app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


async def _not_understood(request: Request, error: RequestValidationError) -> Response:
    return failure_response("bad_request", in_words(error.errors()))


async def _refused(request: Request, error: HTTPException) -> Response:
    """What the framework refuses by itself."""
    if error.status_code == 404:
        return failure_response("unknown_address", "there is nothing at this address.")
    if error.status_code == 413:
        return failure_response("body_too_large", error.detail)
    response = failure_response("bad_request", error.detail)
    response.status_code = error.status_code
    return response


async def _failed(service: SegmentationService, request: Request, error: Exception) -> Response:
    """Bad input has a reason; what has none is our own fault."""
    failure = failure_of(error, "")
    if failure["reason"] in REASONS:
        return failure_response(failure["reason"], service.told(failure["message"]))
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return failure_response("internal", f"the server failed ({type(error).__name__}); its log says more.")

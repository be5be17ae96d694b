"""Requests that wait their turn: one thread computes, everybody else looks at how far it is."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from ..errors import failure_of
from .failures import ServiceError
from .progress import Cancelled, Progress

_logger = logging.getLogger(__name__)

STATES = ("queued", "running", "done", "failed", "cancelled")


@dataclass(eq=False)
class Request:
    """What somebody asked for.

    Args:
        id: not to be guessed.
        owner: who may see it.
        state: one of STATES.
        mask: the name of the mask that came of it.
        error: `reason` and `message` of a failed one.
        followers: how many wait for what becomes of it.
        progress: how far it is.
    """

    id: str
    owner: str
    state: str = "queued"
    mask: str | None = None
    error: dict[str, str] | None = None
    followers: int = 0
    progress: Progress = field(default_factory=Progress)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state not in ("queued", "running")


class RequestQueue:
    """Computes requests one after the other, in the order in which they came.

    Args:
        most_waiting: requests that may wait or run at a time.
        most_remembered: requests that are over and can still be looked at.
    """

    def __init__(self, most_waiting: int = 256, most_remembered: int = 1000) -> None:
        self.most_waiting, self.most_remembered = most_waiting, most_remembered
        self._requests: dict[str, Request] = {}
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="medvol_r1_requests")

    def submit(self, owner: str, work: Callable[[Progress], str]) -> Request:
        """Puts work at the end of the queue.

        Args:
            owner: who may see it.
            work: what is to be computed; it looks at its progress often, and returns the name of a mask.

        Raises:
            ServiceError: `too_many_requests`.
        """
        request = Request(secrets.token_urlsafe(16), owner)
        with self._lock:
            waiting = sum(not other.is_over for other in self._requests.values())
            if waiting >= self.most_waiting:
                raise ServiceError(
                    "too_many_requests", f"{waiting} requests wait, the most that may; ask again when some are done."
                )
            over = [other.id for other in self._requests.values() if other.is_over]
            for oldest in over[: max(0, len(over) - self.most_remembered)]:
                del self._requests[oldest]
            self._requests[request.id] = request
            self._worker.submit(self._compute, request, work)
        return request

    def get(self, owner: str, request_id: str) -> Request:
        """A request of an owner.

        Raises:
            ServiceError: `unknown_request`.
        """
        with self._lock:
            request = self._requests.get(request_id)
        if request is None or request.owner != owner:
            raise ServiceError("unknown_request", f"there is no request {request_id[:100]!r}.")
        return request

    def ahead(self, request: Request) -> int:
        """How many requests are computed before one that waits; 0 for others."""
        with self._lock:
            if request.state != "queued":
                return 0
            before = list(self._requests.values())
            return sum(not other.is_over for other in before[: before.index(request)])

    def cancel(self, request: Request) -> None:
        """Stops a request at its next token or slice, or before it begins; one that is over stays as it is."""
        request.progress.cancel()
        with self._lock:
            if request.state == "queued":
                request.state = "cancelled"

    def close(self) -> None:
        """Cancels all requests, and waits until none is computed."""
        with self._lock:
            requests = list(self._requests.values())
        for request in requests:
            self.cancel(request)
        self._worker.shutdown()

    def _compute(self, request: Request, work: Callable[[Progress], str]) -> None:
        with self._lock:
            if request.state != "queued":
                return
            request.state = "running"
        try:
            request.mask = work(request.progress)
            request.state = "done"
        except Cancelled:
            request.state = "cancelled"
        except Exception as error:  # whatever it is, the next request is still to be computed
            failure = failure_of(error, request.id)
            _logger.warning("request %s failed: %s: %r", request.id, failure["reason"], failure["message"])
            request.error = {"reason": failure["reason"], "message": failure["message"]}
            request.state = "failed"

"""What stands in front of every call: who asks, how much is sent, what a browser may do with an answer."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .failures import failure_response
from .owners import COOKIE, Owners

MARK = "X-MedVol"
"""The header that a call which changes something must have: no page of another site can send it."""

SESSION = "/api/session"
LONGEST_BODY = 2**20
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Protection:
    """ASGI middleware. A call of the API that it lets through has its owner in `request.state.owner`.

    Args:
        app: what it stands in front of.
        owners: who is let in.
        longest_upload: bytes of the body of a call that sends a file; LONGEST_BODY of others.
    """

    def __init__(self, app: ASGIApp, owners: Owners, longest_upload: int) -> None:
        self.app, self.owners, self.longest_upload = app, owners, longest_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookie: str | None = None

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                if cookie is not None:
                    answer.append("Set-Cookie", cookie_header(cookie))
            await send(message)

        if scope["path"].startswith("/api/"):
            refused = self._refused(scope, headers)
            if refused is not None:
                await failure_response(*refused)(scope, receive, send_protected)
                return
            owner = self.owners.of(headers.get("Cookie", ""), headers.get("Authorization", ""))
            if owner is None and scope["path"] != SESSION:
                if self.owners.key is not None:
                    refused = "wrong_key", f"this server wants a key: send it to {SESSION}, or as a bearer token."
                    await failure_response(*refused)(scope, receive, send_protected)
                    return
                cookie = self.owners.new_cookie()
                owner = self.owners.of_cookie(cookie)
            state: MutableMapping[str, Any] = scope.setdefault("state", {})
            state["owner"] = owner
            receive = _bounded(receive, self._longest(headers))
        await self.app(scope, receive, send_protected)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[str, str] | None:
        """Reason and message, if a call is not even looked at."""
        if scope["method"] not in ("GET", "HEAD") and MARK not in headers:
            return "missing_header", f"a call that changes something needs the header `{MARK}: 1`."
        told = headers.get("Content-Length", "0")
        longest = self._longest(headers)
        if not (told.isascii() and told.isdecimal()) or int(told[:20]) > longest:
            return "body_too_large", f"the body has {told[:20]} bytes, at most {longest} are legal."
        return None

    def _longest(self, headers: Headers) -> int:
        is_upload = headers.get("Content-Type", "").lower().startswith("multipart/form-data")
        return self.longest_upload if is_upload else LONGEST_BODY


def cookie_header(value: str) -> str:
    """What gives a browser the cookie: not for scripts, and not on the way from other sites."""
    return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict"


def _bounded(receive: Receive, longest: int) -> Receive:
    """Counts what comes: not every body tells its length."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > longest:
            raise HTTPException(413, f"the body is longer than {longest} bytes.")
        return message

    return bounded

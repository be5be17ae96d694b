"""Whose a request is: a cookie that the server has signed, or a key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

COOKIE = "medvol_r1_session"


class Owners:
    """Tells owners apart, and lets nobody in who lacks the key.

    Without a key everybody is let in: a cookie is an owner, and so is the text of `Authorization: Bearer TEXT`. With a
    key, that text must be the key, and cookies are given for it.

    Args:
        key: that users must know; None: none.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self._secret = secrets.token_bytes(32)

    def of(self, cookies: str, authorization: str) -> str | None:
        """The owner that the headers of a request name; None: they name none.

        Args:
            cookies: the header `Cookie`.
            authorization: the header of that name.
        """
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() == "bearer" and text.strip():
            given = text.strip()
            return self._owner_of(given) if self.key is None or self.is_key(given) else None
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return None
        name, _, signature = (morsel.value if morsel else "").partition(".")
        return self._owner_of(name) if name and hmac.compare_digest(signature, self._signature(name)) else None

    def is_key(self, text: str) -> bool:
        """Whether a text is the key; True for any text where there is none."""
        return self.key is None or hmac.compare_digest(text.encode(), self.key.encode())

    def new_cookie(self) -> str:
        """The value of a cookie that makes a new owner."""
        name = secrets.token_urlsafe(24)
        return f"{name}.{self._signature(name)}"

    def of_cookie(self, value: str) -> str:
        """The owner that a new cookie makes."""
        return self._owner_of(value.partition(".")[0])

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    def _owner_of(self, text: str) -> str:
        """Not the text itself: it may be the key, and owners may be logged."""
        return hmac.new(self._secret, b"owner " + text.encode(), hashlib.sha256).hexdigest()

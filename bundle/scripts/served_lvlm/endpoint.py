"""An OpenAI-compatible endpoint: where it is, how it is asked, what of its reply is the answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from monai.utils import optional_import

from ..lvlm.sampling import Sampling
from .failures import request_error, served_error

if TYPE_CHECKING:
    from openai import OpenAI

openai, has_openai = optional_import("openai")

# The client demands a key, and would take the one of the environment, which is meant for another endpoint.
_NO_KEY = "no-key"


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how patiently it is asked.

    Args:
        base_url: http or https, up to `/v1`.
        model: its name there.
        api_key_variable: the environment variable that holds the key; None: no key. The key itself is never kept.
        max_concurrency: requests at a time.
        timeout_s: how long a reply is waited for, in seconds.
        max_retries: how often a request is repeated after a lost connection, a timeout, or status 408, 409, 429 or 5xx.

    Raises:
        ServedModelError: `bad_url`.
        ValueError: another value that is not legal; the message names its config key.
    """

    base_url: str
    model: str
    api_key_variable: str | None = None
    max_concurrency: int = 8
    timeout_s: float = 120.0
    max_retries: int = 2

    def __post_init__(self) -> None:
        if not _is_endpoint(self.base_url):
            told = str(self.base_url).rpartition("@")[2].partition("?")[0]  # the rest may be secret
            raise served_error("bad_url", f"base_url is {told!r}, which is no address of a model")
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(f"model is {self.model!r}; give the name under which it is served (config key `model`).")
        if self.max_concurrency < 1:
            raise ValueError(f"max_concurrency is {self.max_concurrency!r}; give a whole number of at least 1.")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s is {self.timeout_s!r}; give seconds, more than 0.")
        if self.max_retries < 0:
            raise ValueError(f"max_retries is {self.max_retries!r}; give a whole number of at least 0.")

    def client(self) -> OpenAI:
        """A client, to be closed by its user; nothing is sent yet.

        Raises:
            ServedModelError: `no_client` or `no_api_key`.
        """
        if not has_openai:
            raise served_error("no_client", "The package `openai` is not installed")
        return openai.OpenAI(
            base_url=self.base_url, api_key=self._api_key(), timeout=self.timeout_s, max_retries=self.max_retries
        )

    def ask(
        self,
        client: OpenAI,
        content: Sequence[Mapping[str, Any]],
        seed: int | None,
        *,
        sampling: Sampling,
        max_new_tokens: int,
    ) -> str:
        """The completion of one message.

        Args:
            client: from `client`; several threads may share it.
            content: parts of the user's message, in OpenAI's form.
            seed: of the server's sampling; None if it is greedy.
            sampling: `top_k`, which is not in OpenAI's form, is sent only if it is not 0.
            max_new_tokens: longest completion.

        Raises:
            ServedModelError: for each way to get no answer.
        """
        try:
            reply = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                # A server would take the model's own defaults for what is left out.
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_completion_tokens=max_new_tokens,
                **({} if seed is None else {"seed": seed}),
                extra_body={"top_k": sampling.top_k} if sampling.top_k else None,
            )
        except (openai.OpenAIError, ValueError) as error:
            # Without its cause, which repeats what the endpoint said, the key perhaps.
            raise request_error(error, self.base_url, self.timeout_s, self._api_key()) from None
        return self._text_of(reply)

    def _text_of(self, reply: Any) -> str:
        """What stands in a reply, of whatever form."""
        try:
            text = reply.choices[0].message.content
        except (AttributeError, IndexError, TypeError) as error:
            found = f"{self.base_url} replied with something else than a chat completion"
            raise served_error("not_json", found) from error
        if not isinstance(text, str) or not text:
            ended = reply.choices[0].finish_reason
            raise served_error("empty_answer", f"The answer of {self.base_url} is empty (finish_reason {ended!r})")
        return text

    def _api_key(self) -> str:
        if self.api_key_variable is None:
            return _NO_KEY
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise served_error("no_api_key", f"The environment variable {self.api_key_variable!r} holds no key")
        return key


def _is_endpoint(url: object) -> bool:
    """Whether it is an http address without anything secret: user, password, query."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number, brackets that do not close
        return False
    is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return is_http and not ("@" in parts.netloc or parts.query or parts.fragment)

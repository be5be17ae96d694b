"""Why a served model gave no answer: a closed list, each with the config key to change."""

from __future__ import annotations

from monai.utils import optional_import

from ..errors import ReasonedError

openai, _ = optional_import("openai")

REMEDIES = {
    "no_client": "install it with `pip install 'medvol-r1[served]'`, or use a local model (config key `network_def`)",
    "bad_url": "give http:// or https://, the host and the path, http://localhost:8000/v1 for example, and no password "
    "(config key `base_url`)",
    "no_api_key": "export the variable, or name another one (config key `api_key_variable`; null: no key)",
    "key_refused": "see what the variable holds (config key `api_key_variable`)",
    "unreachable": "start the server, or give its address (config key `base_url`)",
    "timeout": "wait longer, or ask less at a time (config keys `timeout_s`, `max_concurrency`)",
    "not_found": "give a name that the server lists under /models (config key `model`), and the address up to /v1 "
    "(config key `base_url`)",
    "too_many_images": "show fewer slices (config key `num_slices`), or raise the server's limit (vLLM: "
    "`--limit-mm-per-prompt`)",
    "too_long": "show fewer or smaller slices (config keys `num_slices`, `lvlm_slice_size`), or raise the server's "
    "limit (vLLM: `--max-model-len`)",
    "overloaded": "ask less at a time, or try more often (config keys `max_concurrency`, `max_retries`)",
    "server_error": "see the server's log, or try more often (config key `max_retries`)",
    "request_refused": "ask what the server takes (config keys `model`, `temperature`, `top_p`, `top_k`)",
    "not_json": "give the address of an OpenAI-compatible endpoint, up to /v1 (config key `base_url`)",
    "empty_answer": "leave room for an answer (config key `max_new_tokens`), and start the server without a parser of "
    "reasoning",
}
"""By reason: what to change."""

# Each server says it in its own words; these are vLLM's, SGLang's and those of OpenAI.
_IMAGES = ("image(s) may be provided", "too many images", "limit-mm-per-prompt", "limit_mm_per_prompt")
_LENGTH = ("context length", "maximum model length", "max_model_len", "context_length_exceeded")
_BY_STATUS = {
    401: "key_refused",
    403: "key_refused",
    404: "not_found",
    413: "too_long",
    429: "overloaded",
    503: "overloaded",
}


class ServedModelError(ReasonedError):
    """A served model that gave no answer."""

    reasons = tuple(REMEDIES)


def served_error(reason: str, found: str) -> ServedModelError:
    """The error of a reason, with what to change.

    Args:
        reason: a key of `REMEDIES`.
        found: a sentence without its full stop.
    """
    return ServedModelError(reason, f"{found}; {REMEDIES[reason]}.")


def request_error(error: Exception, base_url: str, timeout_s: float, api_key: str) -> ServedModelError:
    """The error of a request that the client gave up.

    Args:
        error: of the client `openai`, or of reading JSON.
        base_url: that was asked.
        timeout_s: how long a reply was waited for.
        api_key: never told, even if the endpoint repeats it.
    """
    if isinstance(error, openai.APITimeoutError):
        return served_error("timeout", f"{base_url} gave no reply within {timeout_s:g} s")
    if isinstance(error, openai.APIStatusError):
        said = " ".join(error.message.split())[:300].replace(api_key, "***")
        return served_error(
            _reason_of_status(error.status_code, error.message), f"{base_url} replied {error.status_code}: {said}"
        )
    if isinstance(error, openai.APIConnectionError):
        return served_error("unreachable", f"{base_url} cannot be reached ({error.__cause__ or error})")
    return served_error("not_json", f"{base_url} replied with something else than a chat completion ({error})")


def _reason_of_status(status: int, message: str) -> str:
    told = message.lower()
    if 400 <= status < 500 and any(words in told for words in _IMAGES):
        return "too_many_images"
    if 400 <= status < 500 and any(words in told for words in _LENGTH):
        return "too_long"
    return _BY_STATUS.get(status, "server_error" if status >= 500 else "request_refused")

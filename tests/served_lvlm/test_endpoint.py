"""An endpoint is asked in OpenAI's form; whatever comes instead of an answer has a reason and a message."""

import json
import logging
import socket
import time

import pytest
from chat_server import Reply, chat_server
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.served_lvlm import endpoint as endpoint_module
from medvol_r1.served_lvlm.endpoint import Endpoint
from medvol_r1.served_lvlm.failures import ServedModelError

CONTENT = [{"type": "text", "text": "where?"}]


def ask(url, seed=None, sampling=None, **settings):
    """The answer to CONTENT; nothing is repeated unless it is said."""
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    endpoint = Endpoint(url, "qwen", **{"max_retries": 0, **settings})
    with endpoint.client() as client:
        return endpoint.ask(client, CONTENT, seed, sampling=sampling or Sampling(), max_new_tokens=7)


def failure(url, **settings):
    """(reason, message) of a question that has no answer."""
    with pytest.raises(ServedModelError) as caught:
        ask(url, **settings)
    return caught.value.reason, str(caught.value)


def test_a_greedy_request():
    with chat_server(lambda body: Reply("there")) as server:
        assert ask(server.url) == "there"
    assert server.bodies == [
        {
            "model": "qwen",
            "messages": [{"role": "user", "content": CONTENT}],
            "temperature": 0.0,
            "top_p": 1.0,
            "max_completion_tokens": 7,
        }
    ]


def test_a_sampled_request_says_how():
    with chat_server(lambda body: Reply("there")) as server:
        ask(server.url, seed=5, sampling=Sampling(temperature=0.5, top_p=0.9, top_k=3))
    assert {key: server.bodies[0][key] for key in ("temperature", "top_p", "top_k", "seed")} == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 5
    }  # fmt: skip


@pytest.mark.parametrize(
    "status, said, reason, key",
    [
        (400, "At most 4 image(s) may be provided in one prompt.", "too_many_images", "`num_slices`"),
        (400, "This model's maximum context length is 4096 tokens.", "too_long", "`lvlm_slice_size`"),
        (413, "Payload", "too_long", "`num_slices`"),
        (401, "Who are you?", "key_refused", "`api_key_variable`"),
        (404, "The model `qwen` does not exist.", "not_found", "`model`"),
        (422, "none of them: top_k", "request_refused", "`top_k`"),
        (429, "Slow down", "overloaded", "`max_concurrency`"),
        (503, "Later", "overloaded", "`max_retries`"),
        (500, "CUDA out of memory", "server_error", "the server's log"),
    ],
)
def test_a_status_has_a_reason(status, said, reason, key):
    with chat_server(lambda body: Reply(status=status, body=json.dumps({"error": {"message": said}}))) as server:
        found, message = failure(server.url)
    assert found == reason
    assert message.startswith(f"{server.url} replied {status}: ") and said in message and key in message


@pytest.mark.parametrize(
    "reply, reason, message",
    [
        (Reply(body="<html>", content_type="text/html"), "not_json", "something else than a chat completion"),
        (Reply(body='{"choices": ['), "not_json", "something else than a chat completion"),
        (Reply(body='{"ok": true}'), "not_json", "`base_url`"),
        (Reply(body='{"choices": []}'), "not_json", "`base_url`"),
        (Reply(body="[1]"), "not_json", "`base_url`"),
        (Reply(""), "empty_answer", r"is empty (finish_reason 'stop'); leave room"),
        (Reply(None), "empty_answer", "`max_new_tokens`"),
    ],
    ids=["html", "cut", "other", "no_choices", "list", "empty", "null"],
)
def test_a_reply_that_is_no_answer(reply, reason, message):
    with chat_server(lambda body: reply) as server:
        found, told = failure(server.url)
    assert found == reason and message in told


def test_a_refused_connection():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    reason, message = failure(url)
    assert reason == "unreachable" and message.startswith(f"{url} cannot be reached (") and "`base_url`" in message


def test_a_reply_that_does_not_come():
    with chat_server(lambda body: (time.sleep(0.5), Reply("late"))[1]) as server:
        reason, message = failure(server.url, timeout_s=0.1)
    assert (reason, message) == (
        "timeout",
        f"{server.url} gave no reply within 0.1 s; wait longer, or ask less at a time (config keys `timeout_s`, "
        "`max_concurrency`).",
    )


def test_a_request_is_repeated():
    replies = [Reply(status=503, body="{}"), Reply("there")]
    with chat_server(lambda body: replies.pop(0)) as server:
        assert ask(server.url, max_retries=1) == "there"
    assert len(server.bodies) == 2


def test_the_key_is_sent_and_never_told(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    with chat_server(lambda body: Reply(status=401, body='{"error": {"message": "wrong: sesame-1234"}}')) as server:
        with caplog.at_level(logging.DEBUG), pytest.raises(ServedModelError) as caught:
            ask(server.url, api_key_variable="MY_KEY")
    assert server.keys == ["Bearer sesame-1234"]
    assert "wrong: ***" in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__, "a traceback would tell it"
    assert "sesame" not in caplog.text + repr(Endpoint(server.url, "qwen", "MY_KEY"))


def test_the_key_of_the_environment_is_for_others(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with chat_server(lambda body: Reply("there")) as server:
        ask(server.url)
    assert server.keys == ["Bearer no-key"]


def test_a_variable_without_a_key(monkeypatch):
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(ServedModelError, match="The environment variable 'MY_KEY' holds no key; .*api_key_variable"):
        Endpoint("http://host/v1", "qwen", "MY_KEY").client()


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(endpoint_module, "has_openai", False)
    with pytest.raises(ServedModelError, match=r"`openai` is not installed; .*medvol-r1\[served\].*network_def"):
        Endpoint("http://host/v1", "qwen").client()


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://host:99999", "http://[::1"),
        *("https://user:sesame@host/v1", "https://host/v1?key=sesame", "https://host/v1#here", "", None, 3),
    ],
)
def test_a_bad_address(url):
    with pytest.raises(ServedModelError, match=r"no address of a model; .*config key `base_url`") as caught:
        Endpoint(url, "qwen")
    assert caught.value.reason == "bad_url" and "sesame" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "https://host/a/v1/", "http://[::1]:8000/v1"])
def test_a_good_address(url):
    assert Endpoint(url, "qwen").base_url == url


@pytest.mark.parametrize(
    "settings",
    [{"model": ""}, {"max_concurrency": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_retries": -1}],
)
def test_other_settings_name_their_key(settings):
    (key,) = settings
    with pytest.raises(ValueError, match=f"^{key} is "):
        Endpoint(**{"base_url": "http://host/v1", "model": "qwen", **settings})

"""Clients of the API: inside this process, and of a real server on loopback."""

import threading
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
pytest.importorskip("httpx2", reason="starlette's test client needs it")

import httpx2  # noqa: E402
import uvicorn  # noqa: E402
from medvol_r1.web.api import create_app  # noqa: E402
from medvol_r1.web.protection import MARK  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

HEADERS = {MARK: "1"}


def client_of(service, **options):
    """A client with a session of its own."""
    return TestClient(
        create_app(service, **options), "http://127.0.0.1", headers={**HEADERS}, raise_server_exceptions=False
    )


@contextmanager
def running(service, **options):
    """A server of a service that outlives it; gives its URL."""
    app = create_app(service, **options)
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def client_at(url):
    """A client of a real server, with a session of its own."""
    return httpx2.Client(base_url=url, headers={**HEADERS}, timeout=60)


def opened(client, path="ct.nii.gz"):
    """The address of a study that is opened."""
    response = client.post("/api/studies", json={"path": path})
    assert response.status_code == 201, response.text
    return f"/api/studies/{response.json()['id']}"


def finished(client, response):
    """What became of a question or a correction."""
    assert response.status_code == 202, response.text
    lines = client.get(f"/api/requests/{response.json()['request']}/events").text.split("\n\n")
    return httpx2.Response(200, content=lines[-2].removeprefix("data: ")).json()


def reason(response, status):
    """Of a call that was refused, in the form that all refusals have."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"] and list(body["error"]) == ["reason", "message"]
    return body["error"]["reason"]

import re

import pytest
from medvol_r1.web.api import PAGE
from web_clients import client_of, reason


def test_the_page_is_served(service):
    response = client_of(service).get("/")
    assert response.status_code == 200 and response.headers["Content-Type"].startswith("text/html")
    assert response.text == (PAGE / "index.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"""(?:src|href|url|from|import)[\s=("']+(?:https?:)?//""", text) == [], path.name


@pytest.mark.parametrize(
    "path", ["/../api.py", "/..%2fapi.py", "/%2e%2e/api.py", "/nothing", "/api/nothing", "/api.py"]
)
def test_nothing_else_is(service, path):
    assert reason(client_of(service).get(path), 404) == "unknown_address"


def test_the_api_describes_itself_without_the_documents_of_the_framework(service):
    client = client_of(service)
    described = client.get("/api/openapi.json").json()["paths"]
    assert {"/api/about", "/api/studies", "/api/requests/{request_id}/events"} <= set(described)
    for path in ("/docs", "/redoc", "/api/docs"):
        assert client.get(path).status_code == 404


def test_a_wrong_method_is_refused(service):
    response = client_of(service).put("/api/studies")
    assert response.status_code == 405 and response.json()["error"]["reason"] == "bad_request"


def test_a_failure_of_the_server_is_no_secret_and_no_details(service, monkeypatch):
    def broken():
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(service.folder, "available", broken)
    response = client_of(service).get("/api/studies")
    assert reason(response, 500) == "internal" and "secret" not in response.text


def test_the_service_ends_with_the_application(service, monkeypatch):
    ended = []
    monkeypatch.setattr(service, "shut_down", lambda: ended.append(True))
    with client_of(service) as client:
        client.get("/api/about")
        assert ended == []
    assert ended == [True]

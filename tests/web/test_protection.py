import pytest
from medvol_r1.web.protection import LONGEST_BODY, MARK
from web_clients import client_of, reason


def test_a_session_begins_by_itself(service):
    client = client_of(service)
    given = client.get("/api/about").headers["Set-Cookie"]
    assert given.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert "Set-Cookie" not in client.get("/api/about").headers


def test_another_site_can_change_nothing(service):
    client = client_of(service)
    del client.headers[MARK]
    for method in ("POST", "PATCH", "DELETE", "PUT", "OPTIONS"):
        assert reason(client.request(method, "/api/studies"), 400) == "missing_header"
    assert client.get("/api/studies").status_code == 200


def test_another_name_for_this_address_is_refused(service):
    assert client_of(service).get("/api/about", headers={"Host": "evil.example"}).status_code == 400
    assert client_of(service, hosts=("*",)).get("/api/about", headers={"Host": "ct.example"}).status_code == 200


def test_with_a_key_nothing_is_told_without_it(service):
    client = client_of(service, key="sesame")
    for method, path in (("GET", "/api/about"), ("GET", "/api/openapi.json"), ("POST", "/api/studies")):
        assert reason(client.request(method, path), 401) == "wrong_key"
    for wrong in ("", "Sesame", "sesame "):
        assert reason(client.post("/api/session", json={"key": wrong}), 401) == "wrong_key"
    assert client.post("/api/session", json={"key": "sesame"}).status_code == 204
    assert client.get("/api/about").status_code == 200


def test_a_key_is_a_bearer_token_too(service):
    client = client_of(service, key="sesame")
    assert client.get("/api/about", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert reason(client.get("/api/about", headers={"Authorization": "Bearer x"}), 401) == "wrong_key"


def test_without_a_key_a_bearer_token_names_an_owner(service):
    client = client_of(service)

    def studies(name):
        return client.get("/api/studies", headers={"Authorization": f"Bearer {name}"}).json()["open"]

    opened = client.post("/api/studies", json={"path": "ct.nii.gz"}, headers={"Authorization": "Bearer anna"}).json()
    assert [one["id"] for one in studies("anna")] == [opened["id"]] and studies("bob") == []
    client.delete(f"/api/studies/{opened['id']}", headers={"Authorization": "Bearer anna"})


def test_a_long_body_is_refused_before_it_is_read(service):
    client = client_of(service)
    assert reason(client.post("/api/studies", content=bytes(LONGEST_BODY + 1)), 413) == "body_too_large"
    told = {"Content-Length": str(10**15), "Content-Type": "multipart/form-data; boundary=x"}
    assert reason(client.post("/api/studies", content=b"", headers=told), 413) == "body_too_large"
    assert reason(client.post("/api/studies", content=b"", headers={"Content-Length": "x"}), 413) == "body_too_large"


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_does_not_tell_its_length_is_counted(service, monkeypatch, kind):
    monkeypatch.setattr(service.uploads, "most_bytes", LONGEST_BODY)
    read = []

    def pieces():
        for number in range(100):
            read.append(number)
            yield bytes(LONGEST_BODY // 4)

    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\n'
    body = iter([head, *pieces()]) if kind.startswith("multipart") else pieces()
    response = client_of(service).post("/api/studies", content=body, headers={"Content-Type": kind})
    assert reason(response, 413) == "body_too_large"


def test_a_browser_loads_nothing_from_elsewhere(service):
    for path in ("/api/about", "/api/nothing", "/", "/nothing"):
        headers = client_of(service).get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"

import gzip
import io
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from hostile_text import HOSTILE
from inference_stubs import ONE_BOX
from nifti_files import ct_voxels, patch, write
from PIL import Image
from service_runs import AFFINE, SHAPE, small_service, write_study
from web_clients import client_at, client_of, finished, opened, reason, running

MEBIBYTE = 2**20


@pytest.fixture
def client(service):
    return client_of(service)


@pytest.fixture
def canned(service, monkeypatch):
    """The queries that reach the language model, which answers each with ONE_BOX."""
    queries = []

    class Text:
        text = ONE_BOX

    def generate(volume, texts, on_text):
        queries.extend(texts)
        on_text(ONE_BOX)
        return [[Text()] for _ in texts]

    monkeypatch.setattr(service.models._network, "generate", generate)
    return queries


def picture(response):
    assert response.status_code == 200 and response.headers["Content-Type"] == "image/png"
    return np.array(Image.open(io.BytesIO(response.content)))


def test_the_server_tells_what_it_is(client):
    about = client.get("/api/about").json()
    assert about["name"] == "MedVol-R1" and "not for diagnosis" in about["not_for_diagnosis"]
    assert [window["name"] for window in about["windows"]] == ["abdomen", "lung", "bone", "brain"]
    assert all(window["low"] < window["high"] for window in about["windows"])
    assert about["limits"]["query_characters"] == 2000


def test_a_study_is_opened_looked_at_and_closed(client):
    listed = client.get("/api/studies").json()
    assert {"path": "ct.nii.gz", "name": "ct.nii.gz", "kind": "nifti"} in listed["available"] and listed["open"] == []
    study = opened(client)
    told = client.get(study).json()
    assert told["shape"] == list(SHAPE) and told["spacing_mm"] == [5, 5, 8]
    assert told["shown"]["slices"][0] == 0 and len(told["shown"]["slices"]) == 6 and len(told["shown"]["crop"]) == 4
    assert [one["id"] for one in client.get("/api/studies").json()["open"]] == [told["id"]]
    for plane, (width, height) in {"axial": (40, 36), "coronal": (40, 12), "sagittal": (36, 12)}.items():
        assert picture(client.get(f"{study}/slices/{plane}/5.png")).shape == (height, width)
    assert client.delete(study).status_code == 204
    assert reason(client.get(study), 404) == "unknown_study"


def test_a_slice_shows_the_volume(client, service_folder):
    voxels = np.asarray(nib.load(service_folder / "studies" / "ct.nii.gz").dataobj)
    shown = picture(client.get(f"{opened(client)}/slices/axial/7.png?low=-100&high=155"))
    # The phantom's axes are LPS: columns of the picture are x, rows are y; 255 HU wide: one HU is one grey value.
    assert np.array_equal(shown, (voxels[..., 7].T + 100).clip(0, 255))


def test_ask_see_correct_undo_export(client, canned):
    study = opened(client)
    done = finished(
        client, client.post(f"{study}/questions", json={"query": "the organ that makes bile", "name": "liver"})
    )
    assert (done["state"], done["mask"], done["written"], done["error"]) == ("done", "liver", ONE_BOX, None)
    (mask,) = client.get(study).json()["masks"]
    assert (mask["query"], mask["reasoning"], mask["status_text"]) == (
        "the organ that makes bile",
        "Seen best here.",
        "found",
    )
    shown = client.get(study).json()["shown"]
    assert mask["key_slice"] == shown["slices"][1]
    overlay = client.get(f"{study}/masks/liver/slices/axial/{mask['key_slice']}.png")
    before = picture(overlay)
    assert before.shape == (36, 40, 4)

    left, top, right, bottom = shown["crop"]
    box = [left + 2, top + 2, (left + right) / 2, (top + bottom) / 2]
    corrected = client.post(f"{study}/masks/liver/correction", json={"key_slice": shown["slices"][2], "boxes": [box]})
    assert finished(client, corrected)["state"] == "done"
    (mask,) = client.get(study).json()["masks"]
    assert mask["corrected"] and mask["undo"] and mask["key_slice"] == shown["slices"][2]
    assert mask["bbox_2d_list"][0] == pytest.approx(box, abs=(right - left) / 1000)
    assert mask["query"] == "the organ that makes bile" and canned == ["the organ that makes bile"]
    changed = client.get(f"{study}/masks/liver/slices/axial/0.png", headers={"If-None-Match": overlay.headers["ETag"]})
    assert changed.status_code == 200 and changed.headers["ETag"] != overlay.headers["ETag"]

    nifti = client.get(f"{study}/masks/liver/export/nifti")
    assert 'filename="liver_mask.nii.gz"' in nifti.headers["Content-Disposition"]
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti.content))
    assert np.array_equal(image.affine, AFFINE) and np.count_nonzero(image.dataobj) == mask["voxels"]
    evidence = client.get(f"{study}/masks/liver/export/evidence").json()
    assert evidence["corrected"] and evidence["image"] == "ct.nii.gz"
    assert client.get(f"{study}/masks/liver/export/picture").content.startswith(b"\x89PNG")
    assert reason(client.get(f"{study}/masks/liver/export/dicom_seg"), 409) == "not_dicom"
    assert reason(client.get(f"{study}/masks/liver/export/nrrd"), 404) == "unknown_format"

    (mask,) = client.post(f"{study}/masks/liver/undo").json()["masks"]
    assert not mask["corrected"] and not mask["undo"]
    assert np.array_equal(picture(client.get(overlay.url)), before)
    assert client.get(overlay.url, headers={"If-None-Match": overlay.headers["ETag"]}).status_code == 304
    assert reason(client.post(f"{study}/masks/liver/undo"), 409) == "nothing_to_undo"
    assert [one["kind"] for one in client.get(study).json()["history"]] == ["question", "correction", "undo"]
    client.delete(study)


def test_masks_are_renamed_and_deleted(client, canned):
    study = opened(client)
    for query in ("a", "b"):
        finished(client, client.post(f"{study}/questions", json={"query": query}))
    assert client.patch(f"{study}/masks/a", json={"name": "left kidney (lower pole)"}).status_code == 200
    assert reason(client.patch(f"{study}/masks/b", json={"name": "left kidney (lower pole)"}), 409) == "name_taken"
    assert reason(client.patch(f"{study}/masks/b", json={"name": "a/b"}), 422) == "bad_name"
    assert client.delete(f"{study}/masks/left%20kidney%20(lower%20pole)").status_code == 204
    assert [mask["name"] for mask in client.get(study).json()["masks"]] == ["b"]
    assert reason(client.delete(f"{study}/masks/a"), 404) == "unknown_mask"
    client.delete(study)


@pytest.mark.parametrize("query", HOSTILE)
def test_a_query_is_text(client, canned, query):
    study = opened(client)
    assert finished(client, client.post(f"{study}/questions", json={"query": query}))["state"] == "done"
    (mask,) = client.get(study).json()["masks"]
    assert canned == [query] and mask["query"] == query
    address = f"{study}/masks/{mask['name'].replace('%', '%25').replace('#', '%23').replace('?', '%3F')}"
    assert client.get(f"{address}/export/evidence").json()["query"] == query
    assert client.delete(address).status_code == 204
    client.delete(study)


def test_hostile_text_is_refused_where_it_is_no_query(client, canned):
    study = opened(client)
    for query, expected in (("", "empty_query"), ("x" * 100_000, "query_too_long"), (" \n", "empty_query")):
        assert reason(client.post(f"{study}/questions", json={"query": query}), 422) == expected
    assert reason(client.post(f"{study}/questions", json={"query": "a", "name": "../x"}), 422) == "bad_name"
    lone = b'{"query": "\\ud800"}'
    assert reason(client.post(f"{study}/questions", content=lone, headers={"Content-Type": "application/json"}), 422)
    assert finished(client, client.post(f"{study}/questions", json={"query": "a\0b"}))["state"] == "done"
    assert canned == ["a\0b"]
    client.delete(study)


@pytest.mark.parametrize(
    "path", [*HOSTILE, "../ct.nii.gz", "/etc/passwd", "ct.nii.gz/../../../etc/passwd", "\0", "x" * 100_000]
)
def test_paths_are_text_and_lead_nowhere_else(client, path):
    response = client.post("/api/studies", json={"path": path})
    assert reason(response, 404) == "unknown_path" and len(response.text) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"path": 3}',
        b'{"path": ["a"]}',
        b"{" * 10_000,
        b"\xff\xfe",
        b'{"path": "a", "x": 1}',
        b"null",
    ],
)
def test_bodies_that_cannot_be_used_are_refused(client, body):
    response = client.post("/api/studies", content=body, headers={"Content-Type": "application/json"})
    assert reason(response, 422) == "bad_request" and len(response.text) < 1000
    study = opened(client)
    response = client.post(f"{study}/questions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422) and response.json()["error"]["reason"] == "bad_request"
    client.delete(study)


@pytest.mark.parametrize(
    "body, status, expected",
    [
        ({"key_slice": 1, "boxes": [[0, 0, 9, 9]]}, 422, "key_slice_not_shown"),
        ({"key_slice": 0, "boxes": [[9, 9, 0, 0]]}, 422, "bad_boxes"),
        ({"key_slice": 0, "boxes": [[1, 2, 3]]}, 422, "bad_boxes"),
        ({"key_slice": "0", "boxes": []}, 422, "bad_request"),
        ({"key_slice": 0.5, "boxes": []}, 422, "bad_request"),
        ({"key_slice": 0, "boxes": [["a"]]}, 422, "bad_request"),
        ({"key_slice": 0}, 422, "bad_request"),
    ],
)
def test_evidence_that_cannot_be_used_is_refused(client, body, status, expected):
    study = opened(client)
    assert reason(client.post(f"{study}/masks/liver/correction", json=body), status) == expected
    client.delete(study)


@pytest.mark.parametrize("address", ["slices/axial/99.png", "slices/oblique/0.png", "masks/none/slices/axial/0.png"])
def test_what_is_not_there_is_told(client, address):
    study = opened(client)
    assert reason(client.get(f"{study}/{address}"), 404).startswith("unknown_")
    client.delete(study)


def test_windows_that_cannot_be_used_are_refused(client):
    study = opened(client)
    for window, expected in (("low=5&high=5", "bad_window"), ("low=nan", "bad_window"), ("low=x", "bad_request")):
        assert reason(client.get(f"{study}/slices/axial/0.png?{window}"), 422) == expected
    client.delete(study)


# Uploads ------------------------------------------------------------------------------------------------------------


def sent(client, content, name):
    return client.post("/api/studies", files={"file": (name, content)})


@pytest.mark.parametrize("name", ["ct.nii.gz", "../../$import os.nii.gz", "%x @id <b>.NII.GZ"])
def test_a_volume_that_is_sent_can_be_asked_about(client, canned, service_folder, name):
    response = sent(client, (service_folder / "studies" / "ct.nii.gz").read_bytes(), name)
    assert response.status_code == 201, response.text
    assert response.json()["name"] == name.rsplit("/", 1)[-1]
    study = f"/api/studies/{response.json()['id']}"
    assert finished(client, client.post(f"{study}/questions", json={"query": "the liver"}))["state"] == "done"
    assert client.delete(study).status_code == 204


def test_a_series_that_is_sent_can_be_exported_as_seg(client, canned, service, tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    files.write_series(tmp_path, files.ct_values((24, 20, 6)))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in tmp_path.iterdir():
            archive.write(path, f"../series/{path.name}")
    response = sent(client, content.getvalue(), "series.zip")
    assert response.status_code == 201, response.text
    study = f"/api/studies/{response.json()['id']}"
    assert finished(client, client.post(f"{study}/questions", json={"query": "the liver"}))["state"] == "done"
    assert client.get(f"{study}/masks/the liver/export/dicom_seg").content[128:132] == b"DICM"
    client.delete(study)


def test_bombs_and_absurd_headers_are_refused_and_the_server_goes_on(client, service, tmp_path, monkeypatch):
    kept = service.memory.bytes
    absurd = patch(write(tmp_path / "ct.nii", ct_voxels()), 40, "8h", 7, *[30_000] * 7)
    assert reason(sent(client, absurd.read_bytes(), "a.nii"), 413) == "too_large"
    assert reason(sent(client, gzip.compress(absurd.read_bytes()), "a.nii.gz"), 413) == "too_large"
    volume = write(tmp_path / "small.nii", ct_voxels()).read_bytes()
    bomb = gzip.compress(volume + bytes(5 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE and reason(sent(client, bomb, "b.nii.gz"), 413) == "too_large"
    monkeypatch.setattr(service.uploads, "most_bytes", 5 * MEBIBYTE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(6):
            packed.writestr(f"{number}.dcm", bytes(MEBIBYTE))
    assert reason(sent(client, archive.getvalue(), "c.zip"), 413) == "too_large"
    assert service.memory.bytes == kept and list(service.uploads.folder.iterdir()) == []
    client.delete(opened(client))


@pytest.mark.parametrize(
    "content, name, expected",
    [(b"", "a.nii", "not_nifti"), (b"\x1f\x8b", "a.nii.gz", "not_nifti"), (b"", "a.zip", "not_a_study"),
     (b"PK\5\6" + bytes(18), "a.zip", "no_ct_series"), (b"", "a.exe", "not_a_study"), (b"", "", "bad_request")],
)  # fmt: skip
def test_what_is_no_study_is_refused(client, service, content, name, expected):
    response = sent(client, content, name)
    assert reason(response, 422) == expected
    assert str(service.uploads.folder) not in response.text and list(service.uploads.folder.iterdir()) == []


def test_a_form_without_a_file_is_refused(client):
    response = client.post("/api/studies", data={"file": "text"}, files={"other": ("a.nii", b"")})
    assert reason(response, 422) == "bad_request"
    two = [("file", ("a.nii", b"")), ("file", ("b.nii", b""))]
    assert client.post("/api/studies", files=two).json()["error"]["reason"] == "bad_request"


# Requests -----------------------------------------------------------------------------------------------------------


def test_a_request_tells_how_far_it_is_and_can_be_stopped(client, service):
    study = opened(client)
    address = f"/api/requests/{client.post(f'{study}/questions', json={'query': 'the liver'}).json()['request']}"
    told = client.get(address).json()
    assert list(told) == ["state", "ahead", "stage", "written", "slices", "mask", "error"]
    assert client.delete(address).status_code == 204
    events = client.get(f"{address}/events")
    assert events.headers["Content-Type"].startswith("text/event-stream")
    last = json.loads(events.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["state"] == "cancelled" and client.get(study).json()["masks"] == []
    assert reason(client_of(service).get(address), 404) == "unknown_request"
    client.delete(study)


def test_others_do_not_see_a_study(client, service):
    study, stranger = opened(client), client_of(service)
    for call in (stranger.get, stranger.delete):
        assert reason(call(study), 404) == "unknown_study"
    assert reason(stranger.post(f"{study}/questions", json={"query": "a"}), 404) == "unknown_study"
    assert stranger.get("/api/studies").json()["open"] == []
    client.delete(study)


def test_a_client_that_vanishes_stops_its_work(service, monkeypatch):
    """Over a real connection, which is dropped while the answer is written."""
    generate = service.models._network.generate

    def endless(volume, texts, on_text, **several):
        while True:
            on_text("thinking")
            time.sleep(0.005)

    monkeypatch.setattr(service.models._network, "generate", endless)
    with running(service) as url, client_at(url) as client:
        study = opened(client)
        number = client.post(f"{study}/questions", json={"query": "the liver"}).json()["request"]
        with client.stream("GET", f"/api/requests/{number}/events") as events:
            lines = events.iter_lines()  # a name of its own: without one it ends, and with it the connection
            assert any("thinking" in line for line in lines)
            assert client.get(f"/api/requests/{number}").json()["state"] == "running"
        deadline = time.monotonic() + 20
        while client.get(f"/api/requests/{number}").json()["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.get(f"/api/requests/{number}").json()["state"] == "cancelled"
        monkeypatch.setattr(service.models._network, "generate", generate)
        assert finished(client, client.post(f"{study}/questions", json={"query": "the liver"}))["state"] == "done"
        client.delete(study)


@pytest.mark.parametrize("each", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_answers_to_eight_clients_at_once_are_those_of_one(service_folder, phantom, tmp_path, each):
    """In so little memory that the volumes push each other out."""
    queries, names = ("the liver", "the spleen", "the aorta", "b", "d"), ("ct.nii.gz", "two.nii.gz", "three.nii.gz")
    studies = tmp_path / "studies"
    studies.mkdir()
    for seed, name in enumerate(names):
        write_study(studies / name, 1_000_000 + seed)
    service = small_service(service_folder, studies, memory_bytes=2_500_000)

    def answers(client, study, query):
        done = finished(client, client.post(f"{study}/questions", json={"query": query}))
        assert done["state"] == "done", done
        masks = {mask["name"]: mask for mask in client.get(study).json()["masks"]}
        exported = client.get(f"{study}/masks/{done['mask']}/export/nifti").content
        return masks[done["mask"]]["completion"], gzip.decompress(exported)

    with running(service) as url:
        wanted = [(names[number % 3], queries[number % 5]) for number in range(8 * each)]
        with client_at(url) as client:
            expected = {pair: answers(client, opened(client, pair[0]), pair[1]) for pair in dict.fromkeys(wanted)}
        assert len({completion for completion, _ in expected.values()}) > 2, "the answers differ"

        def ask(mine):
            with client_at(url) as client:
                opened_studies = {name: opened(client, name) for name in names}
                found = [answers(client, opened_studies[name], query) == expected[name, query] for name, query in mine]
                for study in opened_studies.values():
                    client.delete(study)
                return found

        with ThreadPoolExecutor(8) as pool:
            found = [one for part in pool.map(ask, [wanted[start::8] for start in range(8)]) for one in part]
    assert found == [True] * 8 * each
    assert service.memory.bytes <= 2_500_000
    service.shut_down()

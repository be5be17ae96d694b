import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

import json

from answered_cases import record_of
from medvol_r1.service.request_queue import Request
from medvol_r1.web.descriptions import WINDOWS, about, described_request, described_study


def test_a_window_of_its_own_comes_first(service, monkeypatch):
    assert [one["name"] for one in about(service)["windows"]] == list(WINDOWS)
    monkeypatch.setattr(service.models, "window_hu", (-50, 100))
    assert about(service)["windows"][0] == {"name": "model", "low": -50, "high": 100}


def test_a_study_is_plain_json(service, study):
    study.add("liver", "question", record_of(), service.voxels(study) > 0)
    told = described_study(study)
    assert json.loads(json.dumps(told))["masks"][0]["name"] == "liver"
    assert told["history"][0]["status_text"] == "found"


def test_a_request_is_told_as_it_is(service):
    request = Request("id", "owner", state="running")
    request.progress.begin("propagating", 6)
    told = {"state": "running", "ahead": 0, "stage": "propagating", "written": "", "slices": [0, 6]}
    assert described_request(service, request) == {**told, "mask": None, "error": None}
    request.state, request.error = (
        "failed",
        {"reason": "missing_file", "message": f"{service.folder.root}/ct.nii is gone"},
    )
    told = described_request(service, request)
    assert told["error"] == {"reason": "missing_file", "message": "ct.nii is gone"}

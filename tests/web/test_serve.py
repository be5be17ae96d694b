import json
import os
import re
import subprocess
import sys
import time

import pytest
from medvol_r1.web.serve import KEY_VARIABLE, main
from service_runs import BUNDLE, SETTINGS
from web_clients import client_at


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--studies", "nothing"], "nothing is no folder"),
        (["--config_file", "nothing.json"], "nothing.json does not exist"),
        (["--host", "0.0.0.0"], f"there is no key; give --key TEXT, or set {KEY_VARIABLE}"),
        (["--host", "ct.example"], "there is no key"),
        (["--key", ""], "the key is empty"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(monkeypatch, arguments, said):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert said in str(caught.value)


def test_help_needs_no_models(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0 and "--studies DIR" in capsys.readouterr().out


def test_weights_that_are_not_there_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    overlay = tmp_path / "overlay.json"
    overlay.write_text('{"lvlm_path": "nothing/here"}')
    with pytest.raises(SystemExit, match="nothing/here"):
        main(["--config_file", str(overlay), "--port", "0"])


def test_the_command_serves_until_it_is_stopped(service, service_folder, tmp_path):
    """With a key from the environment, on a free port."""
    weights = service_folder / "weights"
    overlay = tmp_path / "overlay.json"
    paths = {"lvlm_path": str(weights / "lvlm"), "medsam2_path": str(weights / "medsam2")}
    overlay.write_text(json.dumps({**SETTINGS, **paths}))
    command = [sys.executable, "-m", "medvol_r1.web.serve", "--port", "0"]
    command += ["--studies", str(service_folder / "studies"), "--config_file", str(overlay)]
    environment = {**os.environ, KEY_VARIABLE: "sesame"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=BUNDLE.parent) as process:
        try:
            line = next(line for line in process.stdout if "is open at" in line)
            with client_at(re.search(r"http://127.0.0.1:\d+", line)[0]) as client:
                assert client.get("/api/about").status_code == 401
                client.headers["Authorization"] = "Bearer sesame"
                listed = client.get("/api/studies").json()
                assert {"path": "ct.nii.gz", "name": "ct.nii.gz", "kind": "nifti"} in listed["available"]
        finally:
            process.terminate()
        start = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - start < 30

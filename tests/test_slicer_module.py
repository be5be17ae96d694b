"""The module for 3D Slicer: its client against the real server, its flow with stand-ins for Slicer's classes."""

import importlib.util
import shutil
import socket
import sys
import time
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from types import ModuleType
from unittest.mock import MagicMock

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("medvol_r1.web.api", reason="needs the extra `serve`")

from service_fixtures import phantom, service, service_folder  # noqa: E402, F401
from web_clients import running  # noqa: E402

FILE = Path(__file__).resolve().parents[1] / "clients" / "slicer" / "MedVolR1.py"
RUNNING = {"state": "running", "ahead": 0, "stage": "writing", "written": "", "slices": [0, 0], "error": None}


def load_module():
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load_module()


@pytest.fixture
def url(service):  # noqa: F811
    with listening(service) as url:
        yield url


@contextmanager
def listening(service, **options):  # noqa: F811
    """`running`, when it has begun to listen."""
    with running(service, **options) as url:
        host, port = url.removeprefix("http://").split(":")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield url


@pytest.fixture
def ct(service_folder, phantom, tmp_path):  # noqa: F811
    """A CT outside of the server's studies, under a name that needs quoting."""
    path = tmp_path / 'CT "1", größer.nii.gz'
    shutil.copy(service_folder / "studies" / "ct.nii.gz", path)
    return path


def wait(client, request):
    end = time.monotonic() + 60
    while (progress := client.progress(request))["state"] not in MODULE.ENDED:
        assert time.monotonic() < end
        time.sleep(0.02)
    return progress


def test_it_can_be_imported_without_slicer():
    assert MODULE.slicer is None


def test_a_volume_is_sent_asked_about_and_its_mask_comes_back_on_its_grid(url, ct, tmp_path):
    client = MODULE.Client(url + "/")
    study = client.upload(ct)
    query = "肝臓 \"$'x'\" %y"
    progress = wait(client, client.ask(study, query))
    assert progress["state"] == "done", progress
    told = client.mask(study, progress["mask"])
    client.download(study, progress["mask"], tmp_path / "mask.nii.gz")
    mask, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(ct)
    np.testing.assert_allclose(mask.affine, source.affine)
    assert told["query"] == query and told["voxels"] == np.count_nonzero(mask.dataobj)
    client.close(study)
    with pytest.raises(MODULE.ServerError) as caught:
        client.mask(study, progress["mask"])
    assert caught.value.reason == "unknown_study"


def test_a_request_is_cancelled(url, ct):
    client = MODULE.Client(url)
    study = client.upload(ct)
    requests = [client.ask(study, f"question {number}") for number in range(4)]
    client.cancel(requests[-1])
    assert wait(client, requests[-1])["state"] == "cancelled"


def test_a_server_with_a_key_wants_it(service):  # noqa: F811
    with listening(service, key="sesame") as url:
        MODULE.Client(url, "sesame")
        with pytest.raises(MODULE.ServerError) as caught:
            MODULE.Client(url, "wrong")
    assert caught.value.reason == "wrong_key"


def test_another_server_and_none_are_told_apart():
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        Thread(target=other.handle_request).start()
        url = f"http://127.0.0.1:{other.server_port}"
        with pytest.raises(MODULE.ServerError, match=f"{url}/api/about answers 404 File not found"):
            MODULE.Client(url)
    with pytest.raises(OSError):
        MODULE.Client(url)


@pytest.mark.parametrize(
    "progress, line",
    [
        ({"state": "queued", "ahead": 3}, "queued, 3 ahead"),
        ({"state": "queued"}, "queued"),
        ({"stage": "encoding"}, "encoding"),
        ({"written": "x" * 300 + " The liver"}, "x" * 190 + " The liver"),
        ({"stage": "propagating", "written": "y", "slices": [3, 12]}, "propagating, 3 of 12 slices"),
        ({"state": "failed", "error": {"reason": "bad_query", "message": "is empty"}}, "is empty"),
        ({"state": "done", "written": "y"}, "done"),
    ],
)
def test_progress_is_told_in_a_line(progress, line):
    assert MODULE.told(RUNNING | progress) == line


@pytest.fixture
def widget(monkeypatch, ct):
    """The module's widget on stand-ins for Slicer; its volume is saved as `ct`, what it shows is kept in `shown`."""

    class Widget:
        def setup(self):
            self.layout = MagicMock()

    classes = ModuleType("slicer.ScriptedLoadableModule")
    classes.ScriptedLoadableModule, classes.ScriptedLoadableModuleWidget = object, Widget
    slicer = MagicMock()
    slicer.util.saveNode.side_effect = lambda node, path: shutil.copy(ct, path)
    shown = []
    slicer.util.loadSegmentation.side_effect = lambda path, properties: (
        shown.append((properties["name"], nib.load(path).get_fdata().shape)) or MagicMock()
    )
    stand_ins = {"slicer": slicer, "slicer.ScriptedLoadableModule": classes, "qt": MagicMock(), "ctk": MagicMock()}
    for name, stand_in in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    stand_ins["qt"].QLineEdit.side_effect = lambda *text: MagicMock(text=text[0] if text else "")
    widget = load_module().MedVolR1Widget()
    widget.setup()
    widget.shown = shown
    node = widget.volume.currentNode.return_value
    node.GetID.return_value, node.GetMTime.return_value = "vtkMRMLScalarVolumeNode1", 7
    return widget


def test_the_button_asks_shows_and_asks_again_without_sending_the_volume_twice(url, widget, service):  # noqa: F811
    widget.url.text = url
    for query in ("the liver", "the spleen"):
        widget.query.text = query
        widget.ask_or_cancel()
        end = time.monotonic() + 60
        while widget.request is not None:
            assert time.monotonic() < end
            widget.look()
            time.sleep(0.02)
    assert [name for name, _ in widget.shown] == ["the liver", "the spleen"]
    assert sys.modules["slicer"].util.saveNode.call_count == 1
    study = widget.study
    widget.cleanup()
    with pytest.raises(Exception, match="study"):
        widget.client.mask(study, "any")


def test_what_goes_wrong_is_told_and_the_module_goes_on(url, widget):
    widget.url.text, widget.query.text = url, " "
    widget.ask_or_cancel()
    assert "empty" in widget.answer.text and widget.request is None
    widget.url.text = "http://127.0.0.1:9"
    widget.ask_or_cancel()
    assert "refused" in widget.answer.text and widget.button.text == "Ask"

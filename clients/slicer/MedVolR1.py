"""MedVol-R1 in 3D Slicer: a question about the loaded CT becomes a segmentation with its evidence.

A scripted module that talks to `medvol-r1 serve` by its HTTP API; how to install it: bundle/docs/monai_label.md.
`Client` needs nothing but Python, so that it can be tested without Slicer.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, Request, build_opener

try:
    import ctk
    import qt
    import slicer
    from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
except ImportError:  # outside Slicer: only `Client` can be used
    slicer = None
    ScriptedLoadableModule = ScriptedLoadableModuleWidget = object

ENDED = ("done", "failed", "cancelled")
_CHUNK_BYTES = 1 << 20


class ServerError(Exception):
    """What the server refused; its message is for the user.

    Args:
        reason: one of the API's closed list.
        message: in words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Client:
    """The HTTP API of `medvol-r1 serve`, as far as this module needs it.

    Args:
        url: of the server.
        key: that the server asks for; empty: none, the session is kept by a cookie.

    Raises:
        ServerError: by every method, when the server refuses.
        OSError: by every method, when the server cannot be reached.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        self.headers = {"X-MedVol": "1", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self._json("GET", "/api/about")  # begins the session

    def upload(self, path: str | Path) -> str:
        """Sends a volume (.nii, .nii.gz, .zip of a DICOM series); returns the id of its study."""
        path, boundary = Path(path), uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quote(path.name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        return self._json("POST", "/api/studies", _parts(head, path, tail), headers)["id"]

    def ask(self, study: str, query: str) -> str:
        """Asks in free text; returns the id of the request."""
        return self._json("POST", f"/api/studies/{study}/questions", _json_body({"query": query}))["request"]

    def progress(self, request: str) -> dict[str, Any]:
        """How far a request is: `state`, `ahead`, `stage`, `written`, `slices`, `mask`, `error`."""
        return self._json("GET", f"/api/requests/{request}")

    def cancel(self, request: str) -> None:
        """Ends a request."""
        self._open("DELETE", f"/api/requests/{request}").close()

    def mask(self, study: str, name: str) -> dict[str, Any]:
        """What is known of a mask of a study: `query`, `status_text`, `volume_ml`, `key_slice`, `reasoning`, ..."""
        masks = self._json("GET", f"/api/studies/{study}")["masks"]
        return next(mask for mask in masks if mask["name"] == name)

    def download(self, study: str, name: str, path: str | Path) -> None:
        """Writes a mask as NIfTI, on the grid of the volume."""
        address = f"/api/studies/{study}/masks/{quote(name, safe='')}/export/nifti"
        with self._open("GET", address) as response, open(path, "wb") as file:
            shutil.copyfileobj(response, file)

    def close(self, study: str) -> None:
        """Removes a study from the server."""
        self._open("DELETE", f"/api/studies/{study}").close()

    def _json(self, method: str, address: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        with self._open(method, address, body, headers) as response:
            return json.load(response)

    def _open(self, method: str, address: str, body: Any = None, headers: dict[str, str] | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json", **self.headers, **(headers or {})}
        try:
            return self._opener.open(Request(self.url + address, body, headers, method=method))
        except HTTPError as error:
            with error:
                raise _refusal(error) from error


def _json_body(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _parts(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    """The body of an upload, piece by piece: a CT need not fit into memory twice."""
    yield head
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    yield tail


def _refusal(error: HTTPError) -> ServerError:
    """What the server said, or its status where it is not this server."""
    try:
        told = json.load(error)["error"]
        return ServerError(told["reason"], told["message"])
    except (ValueError, KeyError, TypeError):
        return ServerError("unknown", f"{error.url} answers {error.code} {error.reason}")


def told(progress: dict[str, Any]) -> str:
    """A line that says how far a request is."""
    if progress["state"] == "failed":
        return progress["error"]["message"]
    if progress["state"] != "running":
        return f"{progress['state']}, {progress['ahead']} ahead" if progress["ahead"] else progress["state"]
    if progress["stage"] == "propagating":
        done, of = progress["slices"]
        return f"propagating, {done} of {of} slices"
    return progress["written"][-200:] or progress["stage"] or "running"


class MedVolR1(ScriptedLoadableModule):
    """The module, as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = "MedVol-R1"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The MedVol-R1 bundle authors"]
        parent.helpText = "Ask about the loaded CT in words, answered by `medvol-r1 serve`. Not for diagnosis."


class MedVolR1Widget(ScriptedLoadableModuleWidget):
    """Server, volume, question, a button, and how far the answer is."""

    def setup(self) -> None:
        """Called by Slicer when the module is opened."""
        super().setup()
        self.client: Client | None = None
        self.study = self.request = self.sent = None
        box = ctk.ctkCollapsibleButton()
        box.text = "Ask (for research, not for diagnosis)"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.url, self.key, self.query = qt.QLineEdit("http://127.0.0.1:8000"), qt.QLineEdit(), qt.QLineEdit()
        self.key.echoMode = qt.QLineEdit.Password
        self.query.placeholderText = "the organ that makes bile"
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.setMRMLScene(slicer.mrmlScene)
        self.button, self.progress, self.answer = qt.QPushButton("Ask"), qt.QProgressBar(), qt.QLabel()
        self.progress.setRange(0, 1)
        self.answer.wordWrap = True
        fields = {"Server": self.url, "Key": self.key, "CT": self.volume, "Question": self.query}
        for name, field in fields.items():
            form.addRow(name, field)
        for field in (self.button, self.progress, self.answer):
            form.addRow(field)
        self.layout.addStretch(1)
        self.button.connect("clicked()", self.ask_or_cancel)
        self.query.connect("returnPressed()", self.ask_or_cancel)
        self.timer = qt.QTimer()
        self.timer.setInterval(500)
        self.timer.connect("timeout()", self.look)

    def cleanup(self) -> None:
        """Called by Slicer when the module is closed or reloaded."""
        self.timer.stop()
        if self.client is not None and self.study is not None:
            self._tried(lambda: self.client.close(self.study))

    def ask_or_cancel(self) -> None:
        """The button: asks, and while an answer is awaited cancels."""
        if self.request is not None:
            self._tried(lambda: self.client.cancel(self.request))
        elif self.volume.currentNode() is None:
            self.answer.text = "Load a CT first."
        else:
            self._tried(self._ask)

    def _ask(self) -> None:
        node = self.volume.currentNode()
        where = (self.url.text, self.key.text, node.GetID(), node.GetMTime())
        if where != self.sent:  # another server or volume, or the volume was changed
            self.client = Client(self.url.text, self.key.text)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "ct.nii.gz"
                if not slicer.util.saveNode(node, str(path)):
                    raise OSError("Slicer cannot write the volume as NIfTI.")
                self.study = self.client.upload(path)
            self.sent = where
        self.request = self.client.ask(self.study, self.query.text)
        self.button.text = "Cancel"
        self.progress.setRange(0, 0)
        self.timer.start()

    def look(self) -> None:
        """How far the answer is; called every half second."""
        self._tried(self._look)

    def _look(self) -> None:
        progress = self.client.progress(self.request)
        self.answer.text = told(progress)
        if progress["stage"] == "propagating" and progress["slices"][1]:
            self.progress.setRange(0, progress["slices"][1])
            self.progress.value = progress["slices"][0]
        if progress["state"] in ENDED:
            self._end()
            if progress["state"] == "done":
                self._show(progress["mask"])

    def _show(self, name: str) -> None:
        mask = self.client.mask(self.study, name)
        self.answer.text = f"{mask['status_text']}, {mask['volume_ml']:.1f} ml\n{mask['reasoning']}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mask.nii.gz"
            self.client.download(self.study, name, path)
            segmentation = slicer.util.loadSegmentation(str(path), {"name": mask["query"]})
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volume.currentNode())
        if segmentation.GetSegmentation().GetNumberOfSegments():
            segmentation.GetSegmentation().GetNthSegment(0).SetName(mask["query"])

    def _end(self) -> None:
        self.timer.stop()
        self.request = None
        self.button.text = "Ask"
        self.progress.setRange(0, 1)

    def _tried(self, act: Any) -> None:
        """What goes wrong is told, and the module goes on."""
        try:
            act()
        except (ServerError, OSError) as error:
            self._end()
            self.sent = None  # a study that the server has forgotten is sent again
            self.answer.text = str(error)

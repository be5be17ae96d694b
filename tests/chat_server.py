"""An OpenAI-compatible endpoint on loopback, and the models that tests put behind it and beside it."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.vision import resized
from PIL import Image


@dataclass
class Reply:
    """What is sent: a completion in OpenAI's form, unless `body` is given."""

    text: str | None = ""
    status: int = 200
    body: str | None = None
    content_type: str = "application/json"

    def content(self) -> bytes:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": self.text}}
        completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return (json.dumps(completion) if self.body is None else self.body).encode()


@dataclass
class ChatServer:
    """`url` is the base URL; the lists hold what it was asked, and with which key."""

    answer: Callable[[dict], Reply]
    url: str = ""
    bodies: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, path: str, key: str, body: dict) -> Reply:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(body) if path == "/v1/chat/completions" else Reply(status=404, body="{}")
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def chat_server(answer: Callable[[dict], Reply]) -> Iterator[ChatServer]:
    """A server that runs inside; `answer` gets the body of each request, in threads."""
    server = ChatServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.asked(self.path, self.headers["Authorization"], body)
            content = reply.content()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def picture_of(url: str) -> np.ndarray:
    """The pixels of a PNG in a data URL: uint8 [H, W] or [H, W, 3]."""
    head, _, text = url.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(text))) as picture:
        assert picture.format == "PNG"
        return np.array(picture)


def query_of(body: dict) -> str:
    """The query that a request holds behind its slices."""
    return body["messages"][0]["content"][-1]["text"].removeprefix("\nQuery: ")


def answers_of(network: VolumeLVLM) -> Callable[[dict], Reply]:
    """What a server replies that runs this network on the slices that it is sent."""
    lock = threading.Lock()

    def answer(body: dict) -> Reply:
        parts = [part for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        pictures = np.stack([picture_of(part["image_url"]["url"]) for part in parts])
        with lock:  # the network keeps buffers
            volume = network.encode(torch.from_numpy(pictures).float() / 255)
            return Reply(network.generate(volume, [query_of(body)])[0][0].text)

    return answer


class QuantisedLVLM(VolumeLVLM):
    """Sees its slices with 8 bits, as PNG has them."""

    def encode(self, slices):
        slices = resized(slices[:, None], self.slice_size)[:, 0]
        return super().encode((slices * 255).round() / 255)

"""Stand-ins for the two models, so that tests of the inference side say what the models answer."""

import json
import os
import signal
from types import SimpleNamespace

import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from torch import nn

ONE_BOX = '<think>Seen best here.</think><answer>{"key_slice": 2, "bbox_2d_list": [[250, 500, 750, 1000]]}</answer>'
NO_BOX = '<think>Not there.</think><answer>{"key_slice": 1, "bbox_2d_list": []}</answer>'


class CannedNetwork(nn.Module):
    """Answers every query with one completion, or with the one of its query; notes what it was given.

    `ValueError`s as a broken case does for queries that say "explode".
    """

    def __init__(self, completion: str = ONE_BOX, by_query: dict[str, str] | None = None) -> None:
        super().__init__()
        self.register_buffer("format_version", torch.tensor(1))
        self.completion, self.by_query = completion, by_query or {}
        self.shapes: list[tuple[int, ...]] = []
        self.queries: list[str] = []

    def load(self):
        return self

    def encode(self, slices):
        self.shapes.append(tuple(slices.shape))
        return slices

    def generate(self, volume, queries, *, num_samples=1, sampling=None, on_text=None):
        self.queries += queries
        if any("explode" in query for query in queries):
            raise ValueError("the stub exploded")
        texts = [self.by_query.get(query, self.completion) for query in queries]
        return [[SimpleNamespace(text=text)] * num_samples for text in texts]

    def forward(self, image, query=None):
        return torch.zeros(len(image), 1, *image.shape[2:])


class DyingNetwork(CannedNetwork):
    """Stops the process when it has answered as many volumes as DIE_AFTER says."""

    def encode(self, slices):
        if len(self.shapes) == int(os.environ.get("DIE_AFTER", 1_000)):
            os.kill(os.getpid(), signal.SIGKILL) if os.environ.get("DIE_HARD") else self.interrupt()
        with open(os.environ["ENCODED"], "a") as file:
            file.write("volume\n")
        return super().encode(slices)

    def interrupt(self):
        raise KeyboardInterrupt


class CountingLVLM(VolumeLVLM):
    """Notes each volume that it encodes in the file that ENCODED names."""

    def encode_many(self, volumes):
        with open(os.environ["ENCODED"], "a") as file:
            file.write("volume\n" * len(volumes))
        return super().encode_many(volumes)


class SeveralAnswers(CannedNetwork):
    """Greedily the first of its answers, sampled the others in turn, whatever is asked."""

    def __init__(self, answers) -> None:
        super().__init__(answers[0])
        self.answers = answers
        self.asked: list[tuple[int, Sampling | None]] = []

    def generate(self, volume, queries, *, num_samples=1, sampling=None, on_text=None):
        self.asked.append((num_samples, sampling))
        texts = self.answers[:1] if sampling is None else self.answers[1 : 1 + num_samples]
        return [[SimpleNamespace(text=text) for text in texts] for _ in queries]


class BoxPropagator:
    """Fills the boxes and the pixels of the points on the key slice alone; notes points only where there are some."""

    def __init__(self) -> None:
        self.devices: list[torch.device] = []
        self.calls: list[tuple[tuple[int, ...], int, list, int | None]] = []

    def to(self, device):
        self.devices.append(device)
        return self

    def mask(self, slices, key_index, boxes_xyxy_px, window=None, points_xy_px=()):
        self.calls.append((tuple(slices.shape), key_index, boxes_xyxy_px.tolist(), window, *points_xy_px))
        filled = torch.zeros(slices.shape[0], *slices.shape[-2:], dtype=torch.bool)
        for x1, y1, x2, y2 in boxes_xyxy_px.round().astype(int):
            filled[key_index, y1:y2, x1:x2] = True
        for x, y in (point for of_object in points_xy_px for point in of_object):
            filled[key_index, min(int(y), slices.shape[-2] - 1), min(int(x), slices.shape[-1] - 1)] = True
        return filled

    def scored_masks(self, slices, anchors, window=None):
        return [(self.mask(slices, key, boxes, window, *points), 0.5) for key, boxes, *points in anchors]


STUBS = {
    "network_def": {"_target_": "inference_stubs.CannedNetwork"},
    "propagator": {"_target_": "inference_stubs.BoxPropagator"},
}


def stub_overlay(path):
    """Writes an overlay of inference.json that puts the stubs in and draws no pictures; returns its path as text."""
    path.write_text(json.dumps({**STUBS, "picture": False}))
    return str(path)

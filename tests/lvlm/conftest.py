"""A random language model, slices, and graphs without a GPU."""

import pytest
import torch
from medvol_r1.lvlm import decoding, static_sequences
from tiny_models import save_random_lvlm


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm"), sharpen=3.0))


@pytest.fixture
def slices():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


class Replayed:
    """Stands for a graph where there is no GPU: what was captured, run again with the shapes that it had."""

    def __init__(self, advance):
        self.replay = advance


@pytest.fixture
def graphs_on_a_cpu(monkeypatch):
    """All of decoding with graphs but the capture: fixed shapes, rows that mean nothing, looks every eight tokens."""
    captures = []

    def captured(rehearse, advance):
        for _ in range(2):
            rehearse()
        captures.append(1)
        return Replayed(advance)

    monkeypatch.setattr(static_sequences, "_captured", captured)
    monkeypatch.setattr(decoding, "_has_graphs", lambda device: True)
    return captures

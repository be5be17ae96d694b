"""Graphs without a GPU, and what the network is asked."""

import pytest
from medvol_r1.lvlm import encoded_volume
from medvol_r1.lvlm.decoding import decoder, static_sequences, writing
from medvol_r1.lvlm.encoded_volume import hidden_states
from medvol_r1.lvlm.model import VolumeLVLM


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

    monkeypatch.setattr(static_sequences, "captured", captured)
    monkeypatch.setattr(decoder, "has_graphs", lambda device: True)
    return captures


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of the ids that the network is called with."""
    noted = []

    def noting(base, ids, positions, **arguments):
        noted.append(tuple(ids.shape))
        for keys, values in arguments.get("prefix") or ():
            assert len(keys) == len(values) == 1
        return hidden_states(base, ids, positions, **arguments)

    for module in (encoded_volume, static_sequences, writing):
        monkeypatch.setattr(module, "hidden_states", noting)
    return noted


@pytest.fixture(scope="module")
def constrained(folder):
    """Of this random network none of the answers is valid by itself."""
    return VolumeLVLM(folder, max_new_tokens=80, constrained=True)

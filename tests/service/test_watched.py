from types import SimpleNamespace

import numpy as np
import pytest
import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.propagation import SlicePropagator
from medvol_r1.service.memory import Memory
from medvol_r1.service.progress import Cancelled, Progress
from medvol_r1.service.watched import WatchedLanguageModel, WatchedPropagator


class Writer:
    """Encodes to ten bytes, which grow to thirty with the first query; writes a word at a time."""

    def __init__(self):
        self.encoded, self.asked = [], []

    def encode(self, slices):
        self.encoded.append(slices)
        return {"volume": np.zeros(10, np.uint8)}

    def generate(self, volume, queries, on_text, **several):
        volume["kept"] = np.zeros(20, np.uint8)
        self.asked.append((queries, several))
        for text in ("one", "one two"):
            on_text(text)
        return [[SimpleNamespace(text="one two")]]


def test_a_volume_is_encoded_once_and_measured_when_it_has_grown():
    network, memory = Writer(), Memory(1000)
    for _ in range(2):
        watched = WatchedLanguageModel(network, "volume", memory, Progress())
        watched.generate(watched.encode(torch.zeros(2, 4, 4)), ["the liver"])
    assert len(network.encoded) == 1 and memory.bytes == 30


def test_what_is_written_is_told():
    progress = Progress()
    watched = WatchedLanguageModel(Writer(), "volume", Memory(1000), progress)
    volume = watched.encode(torch.zeros(2, 4, 4))
    assert progress.stage == "encoding"
    watched.generate(volume, ["the liver"])
    assert (progress.stage, progress.written) == ("writing", "one two")


def test_several_answers_are_passed_on():
    network = Writer()
    watched = WatchedLanguageModel(network, "volume", Memory(1000), Progress())
    sampling = Sampling(temperature=1.0)
    watched.generate({}, ["a"])
    watched.generate({}, ["a"], num_samples=4, sampling=sampling)
    assert network.asked == [(["a"], {}), (["a"], {"num_samples": 4, "sampling": sampling})]


def test_a_cancelled_model_stops_at_the_next_word():
    progress = Progress()
    watched = WatchedLanguageModel(Writer(), "volume", Memory(1000), progress)
    volume = watched.encode(torch.zeros(2, 4, 4))
    progress.write = lambda text: progress.cancel() or Progress.write(progress, text)
    with pytest.raises(Cancelled):
        watched.generate(volume, ["the liver"])
    assert progress.written == ""


@pytest.fixture(scope="module")
def propagator():
    torch.manual_seed(0)
    return SlicePropagator(build_tiny_medsam2())


@pytest.mark.parametrize("window, expected", [(None, 6 + 6 + 6), (1, 2 + 3 + 3)])
def test_each_box_counts_its_slices(propagator, window, expected):
    """One box on the first slice, two on the fourth, of six."""
    progress, slices = Progress(), torch.rand(6, 32, 32)
    anchors = [(0, np.array([[4.0, 4, 20, 20]])), (3, np.array([[2.0, 2, 12, 12], [10, 10, 30, 30]]))]
    watched = WatchedPropagator(propagator, "volume", Memory(2**26), progress)
    masks = watched.scored_masks(slices, [anchors[0], (*anchors[1], ())], window)
    assert (progress.stage, progress.slices) == ("propagating", (expected, expected))
    for (mask, _), (expected_mask, _) in zip(masks, propagator.scored_masks(slices, anchors, window), strict=True):
        assert torch.equal(mask, expected_mask)


def test_points_count_as_boxes_do(propagator):
    progress, slices = Progress(), torch.rand(4, 32, 32)
    watched = WatchedPropagator(propagator, "volume", Memory(2**26), progress)
    watched.scored_masks(slices, [(1, np.zeros((0, 4)), [np.array([[9.0, 9.0]]), np.array([[20.0, 20.0]])])])
    assert progress.slices == (8, 8)


def test_features_are_kept_and_the_hook_is_not(propagator):
    memory = Memory(2**26)
    anchors = [(0, np.array([[4.0, 4, 20, 20]]))]
    WatchedPropagator(propagator, "volume", memory, Progress()).scored_masks(torch.rand(3, 32, 32), anchors)
    kept = memory.bytes
    assert kept > 3 * 32 * 32 * 4, "the slices, and what the model sees of them"
    WatchedPropagator(propagator, "volume", memory, Progress()).scored_masks(torch.rand(3, 32, 32), anchors)
    assert memory.bytes == kept and not propagator.model.mask_decoder._forward_hooks


def test_a_cancelled_propagation_stops_at_the_next_slice(propagator):
    progress, told = Progress(), []
    progress.propagate = lambda slices: told.append(slices) or progress.cancel() or Progress.propagate(progress, slices)
    watched = WatchedPropagator(propagator, "volume", Memory(2**26), progress)
    with pytest.raises(Cancelled):
        watched.scored_masks(torch.rand(6, 32, 32), [(0, np.array([[4.0, 4, 20, 20]]))])
    assert told == [1] and not propagator.model.mask_decoder._forward_hooks

import numpy as np
import pytest
from medvol_r1.demo_models.endless_frames import LABEL_NAMES, EndlessFrames, collate_frames

SLICES, SIZE = 4, 32


def endless(folder, archive=None, shares=None, **options):
    return EndlessFrames(folder, archive, shares or {"organs": 1.0}, SLICES, SIZE, queries_per_volume=3, **options)


def test_missing_contours_are_never_asked_for(folder, archive):
    frames = endless(folder, archive, {"head_neck": 1.0}, absent_fraction=0.5)
    decode = frames.prompts.tokenizer.decode
    patient, rng = frames.patients[1], np.random.default_rng(0)
    answers = [decode(tokens) for _ in range(12) for _, (tokens,) in frames.frame(patient, SLICES, rng).queries]
    named = {word for answer in answers for word in LABEL_NAMES.values() if f"The {word}" in answer}
    # The mandible is drawn; abdominal organs lie elsewhere; parotids or larynx may be there without a contour.
    assert "mandible" in named
    assert named.isdisjoint({"brainstem", "left parotid", "right parotid", "larynx", "esophagus", "spinal cord"})


def test_patients_without_an_archive_are_refused(folder):
    with pytest.raises(ValueError, match="'head_neck' needs an archive"):
        endless(folder, None, {"head_neck": 0.3})


def test_a_batch_holds_what_its_frames_hold(folder):
    stream = iter(endless(folder, batch_size=3))
    frames = [next(stream) for _ in range(3)]
    batch = collate_frames(frames)
    assert batch.slices.shape == batch.label.shape == (3, len(frames[0].slices), SIZE, SIZE)
    assert batch.labeled[0].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4]  # `organs` draws the labels 1 to 5
    answers = [tokens for frame in frames for _, (tokens,) in frame.queries]
    assert batch.packed.targets.tolist() == [token for answer in answers for token in answer]


def test_frames_of_a_batch_have_as_many_slices_and_those_of_several_do_not(folder):
    stream = iter(endless(folder, batch_size=2, frames_per_phantom=40))
    counts = [len(next(stream).slices) for _ in range(24)]
    assert counts[::2] == counts[1::2]
    assert SLICES in counts
    assert min(counts) < SLICES

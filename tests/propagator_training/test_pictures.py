"""Pictures of propagated masks: what is drawn where, and that they arrive in the event file."""

from io import BytesIO

import numpy as np
import pytest
import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.propagator_training.evaluator import ObjectCase, PropagatorEvaluator, VolumeObjects
from medvol_r1.propagator_training.pictures import PropagationPictures, object_row
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

GREEN, ORANGE, YELLOW = (51, 230, 76), (255, 115, 26), (255, 230, 51)


def volume():
    """Grey slices of 20 x 24; the truth is on rows 4..9, columns 5..12 of slices 1..3, the prediction on 1 and 2."""
    image = np.full((5, 20, 24), 0.5, np.float32)
    truth, prediction = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    truth[1:4, 4:10, 5:13] = True
    prediction[1:3, 12:16, 14:20] = True
    return image, truth, prediction


def where(picture, colour):
    """Rows and columns, first and past the last, of a colour; None: it is nowhere."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    return (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) if len(rows) else None


def test_outlines_and_boxes_lie_on_their_slices():
    boxes = np.array([[4.0, 3, 14, 11], [15, 14, 22, 19]])
    row = object_row(*volume(), 2, boxes, offsets=(-3, -1, 0, 1), scale=2)
    assert row.shape == (40, 4 * 48, 3) and row.dtype == np.uint8
    missing, before, key, after = np.split(row, 4, axis=1)
    assert not missing.any()  # slice -1
    for panel in (before, key, after):
        assert where(panel, GREEN) == (8, 20, 10, 26)
        assert (panel[12, 16] == 128).all()  # inside an outline the slice is seen
    assert where(before, ORANGE) == where(key, ORANGE) == (24, 32, 28, 40) and where(after, ORANGE) is None
    assert where(key, YELLOW) == (6, 38, 8, 44) and where(before, YELLOW) is None is where(after, YELLOW)


def test_an_empty_prediction_and_a_box_at_the_border():
    image, truth, prediction = volume()
    row = object_row(image, truth, prediction & False, 0, np.array([[-3.0, -2, 24, 20]]), offsets=(0,), scale=1)
    assert where(row, ORANGE) is None is where(row, GREEN)
    assert row.shape == (20, 24, 3)


@pytest.mark.parametrize(("volumes", "drawn"), [(1, {0}), (2, {0, 2}), (9, {0, 1, 2})])
def test_pictures_are_in_the_event_file(tmp_path, volumes, drawn):
    image, truth, _ = (torch.from_numpy(array) for array in volume())
    objects = [ObjectCase(truth, 2, torch.tensor([[5.0, 4, 13, 10]]))] * 2
    evaluator = PropagatorEvaluator(
        device="cpu",
        val_data_loader=[VolumeObjects(image, objects[: 1 + number % 2]) for number in range(3)],
        network=build_tiny_medsam2(image_size=32),
        val_handlers=[PropagationPictures(str(tmp_path), volumes=volumes, offsets=(-1, 0, 1), scale=3)],
    )
    for epoch in (4, 8):  # as MONAI's ValidationHandler calls it
        evaluator.run(epoch)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {f"propagation/{number}" for number in drawn}
    for number in drawn:
        pictures = events.Images(f"propagation/{number}")
        assert [picture.step for picture in pictures] == [4, 8]
        pixels = np.array(Image.open(BytesIO(pictures[0].encoded_image_string)))
        assert pixels.shape == ((1 + number % 2) * 60, 3 * 72, 3)
        assert where(pixels[:60, :72], GREEN) == (12, 30, 15, 39)

"""Pictures of propagated masks for TensorBoard: a row for each object, key slice in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardHandler
from skimage.segmentation import mark_boundaries

_TRUTH, _PREDICTION, _BOX = (0.2, 0.9, 0.3), (1.0, 0.45, 0.1), (1.0, 0.9, 0.2)


class PropagationPictures(TensorBoardHandler):
    """Handler of a `PropagatorEvaluator`: some of its volumes as images named `propagation/<number of the volume>`.

    The step is the evaluator's epoch, which MONAI's `ValidationHandler` sets to the trainer's.

    Args:
        log_dir: of the events.
        volumes: how many are drawn, spread evenly over those that are validated.
        offsets: slices to show, counted from the key slice.
        scale: pixels of the picture for a pixel of a slice.
    """

    def __init__(
        self, log_dir: str, volumes: int = 4, offsets: Sequence[int] = (-6, -3, 0, 3, 6), scale: int = 2
    ) -> None:
        super().__init__(log_dir=log_dir)
        self.volumes, self.offsets, self.scale = volumes, tuple(offsets), scale

    def attach(self, engine: Engine) -> None:
        """Called by the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._writer.flush)

    def __call__(self, engine: Engine) -> None:
        """Draws the volume that was just followed, if it is one of the chosen."""
        state = engine.state
        total = state.epoch_length
        number = (state.iteration - 1) % total
        if number not in np.linspace(0, total - 1, min(self.volumes, total)).round().astype(int):
            return
        image = state.batch.image.numpy()
        rows = [
            object_row(
                image,
                case.mask.numpy(),
                output["pred"][0].numpy(),
                case.key_index,
                case.boxes.numpy(),
                self.offsets,
                self.scale,
            )
            for case, output in zip(state.batch.objects, state.output, strict=True)
        ]
        self._writer.add_image(f"propagation/{number}", np.concatenate(rows), state.epoch, dataformats="HWC")


def object_row(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    key_index: int,
    boxes_xyxy_px: np.ndarray,
    offsets: Sequence[int],
    scale: int = 2,
) -> np.ndarray:
    """Slices side by side: true outline green, predicted orange; on the key slice the boxes in yellow.

    Args:
        image: [S,H,W] in 0..1.
        truth: bool [S,H,W].
        prediction: bool [S,H,W].
        key_index: 0-based slice of the boxes.
        boxes_xyxy_px: [N,4], x along columns.
        offsets: K slices to show, counted from the key slice; black where the volume has none.
        scale: pixels of the picture for a pixel of a slice.

    Returns:
        uint8 [scale*H, K*scale*W, 3].
    """
    height, width = (scale * length for length in image.shape[1:])
    panels = []
    for index in (key_index + offset for offset in offsets):
        panel = np.zeros((height, width, 3))
        if 0 <= index < len(image):
            panel[:] = _enlarged(image[index], scale)[..., None]
            for box in boxes_xyxy_px if index == key_index else ():
                panel = _outlined(panel, _inside(box * scale, height, width), _BOX)
            panel = _outlined(panel, _enlarged(truth[index], scale), _TRUTH)
            panel = _outlined(panel, _enlarged(prediction[index], scale), _PREDICTION)
        panels.append(panel)
    return np.rint(np.concatenate(panels, axis=1) * 255).astype(np.uint8)


def _enlarged(plane: np.ndarray, scale: int) -> np.ndarray:
    return plane.repeat(scale, 0).repeat(scale, 1)


def _inside(box_xyxy_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [H,W]: the pixels whose centres are in a box."""
    x1, y1, x2, y2 = box_xyxy_px
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    return (y1 <= rows) & (rows < y2) & (x1 <= columns) & (columns < x2)


def _outlined(panel: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """A copy of [H,W,3] with the outermost pixels of a mask in a colour."""
    return mark_boundaries(panel, mask.astype(np.uint8), color=colour, mode="inner", background_label=0)

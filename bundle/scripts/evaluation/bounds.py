"""What the two halves could do at most, and what needs no image: prompts to compare a prediction with.

- `oracle_anchor`: the true key slice and its true boxes, so that all of the error is the propagator's.
- `oracle_boxes`: the true boxes of the *predicted* key slice, so that drawing boxes costs nothing.
- `prior`: the median answer of the target in other patients, see `median_prior`.
- `true_box`, `true_points`, `true_marks`: the box around all of the target, two points in it, and both together, on the
  slice that shows the most; of an entry with `marks`, those.
- `answer_box`, `answer_points`: the boxes and the points of the prediction, each without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..slice_prompt import SlicePrompt, prompt_of
from ..targets import components_to_boxes
from ..umrg.marks import true_anchor
from .columns import BOUNDS
from .median_prior import MedianPrior, prior_name


class Bounds:
    """The prompts of the wanted bounds.

    Args:
        names: some of `BOUNDS`.
        prior: JSON file of `median_prior`, read if it is wanted.

    Raises:
        ValueError: an unknown or repeated name, or a prior that cannot be read.
    """

    def __init__(self, names: Sequence[str] = (), prior: str | Path | None = None) -> None:
        if isinstance(names, str) or set(names) - set(BOUNDS) or len(set(names)) < len(names):
            raise ValueError(f"bounds is {names!r}; a list of some of {list(BOUNDS)}, each once, is legal.")
        self.names = tuple(names)
        self.prior = MedianPrior.load(prior or "") if "prior" in names else None

    def prompts(
        self,
        entry: Mapping[str, Any],
        truth: np.ndarray,
        key_index: int | None,
        answer: SlicePrompt | None = None,
    ) -> dict[str, SlicePrompt | None]:
        """A prompt for each bound; None where there is nothing to start from, whose mask is empty.

        Args:
            entry: of the datalist; its `subset` and `target` name it to the prior.
            truth: bool [S, H, W], the target on the shown slices.
            key_index: of the prediction, None if it has none.
            answer: what the prediction marks; None: nothing.
        """
        prompts: dict[str, SlicePrompt | None] = {
            "oracle_anchor": oracle_boxes(truth, int(np.count_nonzero(truth, axis=(1, 2)).argmax())),
            "oracle_boxes": None if key_index is None else oracle_boxes(truth, key_index),
        }
        if self.prior is not None:
            prompts["prior"] = prompt_of(self.prior.anchor(prior_name(entry), len(truth)), *truth.shape[1:])
        true = true_anchor(entry, truth) if any(name.startswith("true_") for name in self.names) else None
        true_marks = None if true is None else prompt_of(true, *truth.shape[1:])
        prompts |= {"true_marks": true_marks, **_parts(true_marks, "true_box", "true_points")}
        prompts |= _parts(answer, "answer_box", "answer_points")
        return {name: prompts[name] for name in self.names}


def oracle_boxes(truth: np.ndarray, key_index: int) -> SlicePrompt | None:
    """The true boxes of a slice of truth [S, H, W]; None where it shows nothing."""
    return SlicePrompt.of(key_index, np.array(components_to_boxes(truth[key_index])))


def _parts(prompt: SlicePrompt | None, box: str, points: str) -> dict[str, SlicePrompt | None]:
    """The boxes and the points of a prompt apart, under these names."""
    if prompt is None:
        return {box: None, points: None}
    alone = [of_object for of_object in prompt.points_xy_px if of_object]
    return {
        box: SlicePrompt.of(prompt.key_index, prompt.boxes_xyxy_px or np.empty((0, 4))),
        points: SlicePrompt.of(prompt.key_index, np.empty((0, 4)), alone),
    }

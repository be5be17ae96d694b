"""The image-free prior: where a target lies in other patients, as an answer that never looks at the image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..anchor import EvidenceAnchor, boxes_px_to_1000
from ..targets import components_to_boxes


class MedianPrior:
    """The median key slice and the median boxes of each target.

    Args:
        positions: for each name where the key slice lies, 0 (first shown slice) to 1 (last).
        boxes_xyxy_1000: for each name the boxes there, whole numbers from 0 to 1000.
    """

    def __init__(self, positions: Mapping[str, float], boxes_xyxy_1000: Mapping[str, Sequence[Sequence[int]]]) -> None:
        self.positions = dict(positions)
        self.boxes_xyxy_1000 = {
            name: tuple((int(x1), int(y1), int(x2), int(y2)) for x1, y1, x2, y2 in boxes)
            for name, boxes in boxes_xyxy_1000.items()
        }

    @classmethod
    def fit(cls, examples: Iterable[tuple[str, np.ndarray]]) -> MedianPrior:
        """From examples: a name and a mask [S, H, W] each; empty masks say nothing.

        The key slice of an example is the one with the largest area. Of a target's examples those with the most
        frequent number of boxes give the median of each corner; boxes stand from left to right.
        """
        positions: dict[str, list[float]] = defaultdict(list)
        boxes: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
        sides: dict[str, tuple[int, ...]] = {}
        for name, mask in examples:
            if not mask.any():
                continue
            key_index = int(np.count_nonzero(mask, axis=(1, 2)).argmax())
            found = np.array(components_to_boxes(mask[key_index]), dtype=float)
            positions[name].append(key_index / max(len(mask) - 1, 1))
            boxes[name][len(found)].append(found)
            sides.setdefault(name, mask.shape[1:])
        medians = {name: np.median(max(counts.values(), key=len), axis=0) for name, counts in boxes.items()}
        return cls(
            {name: float(np.median(values)) for name, values in positions.items()},
            {name: boxes_px_to_1000(medians[name], *sides[name]) for name in medians},
        )

    def anchor(self, name: str, num_slices: int) -> EvidenceAnchor:
        """The answer for a target among so many shown slices; "not present" for a name that it does not know."""
        if name not in self.positions:
            return EvidenceAnchor(0, ())
        return EvidenceAnchor(round(self.positions[name] * (num_slices - 1)), self.boxes_xyxy_1000[name])

    def save(self, path: str | Path) -> None:
        """Writes JSON: for each name `position` and `boxes_1000`."""
        known = {
            name: {"position": round(position, 4), "boxes_1000": self.boxes_xyxy_1000[name]}
            for name, position in sorted(self.positions.items())
        }
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(answer)}" for name, answer in known.items())
        Path(path).write_text("{\n" + lines + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> MedianPrior:
        """Reads what `save` wrote.

        Raises:
            ValueError: no such file, or another content.
        """
        try:
            known = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(
                {name: float(answer["position"]) for name, answer in known.items()},
                {name: answer["boxes_1000"] for name, answer in known.items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the prior {path} cannot be read ({error!r}); make one with "
                "`python -m medvol_r1.evaluation.fit_median_prior --output FILE` (config key `prior`), or leave it out "
                "of `bounds`."
            ) from error


def prior_name(entry: Mapping[str, object]) -> str:
    """The name of a datalist entry's target in a prior: with its subset, because fields of view differ."""
    parts = (entry.get("subset"), entry.get("target"))
    return "/".join(str(part) for part in parts if part is not None)

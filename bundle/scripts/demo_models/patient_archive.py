"""Head-and-neck CT of OpenKBP in one small file, which never enters the repository.

`benchmarks/openkbp_archive.py` makes it from a folder of `ptNNN_ct.nii.gz` and `ptNNN_oar.nii.gz`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from .frames import LabelledVolume

HEAD_NECK = {
    13: "brainstem",
    14: "spinal cord",
    15: "right parotid",
    16: "left parotid",
    17: "esophagus",
    18: "larynx",
    19: "mandible",
}
"""OpenKBP's organs 1 to 7, with ids behind those of the phantoms."""

# Grey values of a byte: 3 HU a step, from where fat ends to where bone is bone.
LOWEST_HU, STEP_HU = -300, 3

# Every sixth patient is for development.
_EVERY = 6


def read_archive(path: str | Path, split: Literal["train", "development"]) -> list[LabelledVolume]:
    """The patients of a split, in the order of their names.

    Args:
        path: the file, `<name>_image` uint8 [Z, H, W] (LPS, `LOWEST_HU` and `STEP_HU`), `<name>_label` uint8 [Z, H, W]
            of `HEAD_NECK` and `<name>_pixel_mm` for each patient.
        split: "train", or every sixth patient for "development".
    """
    with np.load(path) as archive:
        names = sorted(name.removesuffix("_image") for name in archive.files if name.endswith("_image"))
        return [
            LabelledVolume(
                image=archive[f"{name}_image"].astype(np.int16) * STEP_HU + LOWEST_HU,
                label=archive[f"{name}_label"],
                labeled=frozenset(np.unique(archive[f"{name}_label"]).tolist()) - {0},
                pixel_mm=float(archive[f"{name}_pixel_mm"]),
                subset="head_neck",
            )
            for number, name in enumerate(names)
            if (number % _EVERY == _EVERY - 1) == (split == "development")
        ]

"""CT-ORG: 140 CTs with organs of the trunk, of the Cancer Imaging Archive.

Files `volume-N.nii.gz` and `labels-N.nii.gz`, N from 0 to 139, in one folder or in folders of their own. Volumes 0 to
20 are the official test part; labels of lungs and bone are automatic in the others.
"""

from __future__ import annotations

import re
from pathlib import Path

from .found_cases import Found, FoundCase, checked_folder, pairs_below, refuse_if_nothing

NAMES = {"liver": [1], "bladder": [2], "lungs": [3], "kidney": [4], "bone": [5], "brain": [6]}
_TEST = range(21)
_IMAGE, _LABEL = (re.compile(rf"{kind}-(\d+)\.nii(?:\.gz)?") for kind in ("volume", "labels"))
_EXPECTED = "volume-N.nii.gz and labels-N.nii.gz of CT-ORG, N from 0 to 139, there or in folders below"


def find_cases(folder: str | Path) -> Found:
    """The cases of CT-ORG.

    Args:
        folder: what was downloaded, unpacked.

    Raises:
        LayoutError: nothing of CT-ORG is there.
    """
    folder = checked_folder(folder, _EXPECTED)
    pairs, left_out = pairs_below(folder, _IMAGE, _LABEL, "ct_org_")
    cases = [
        FoundCase(
            case=f"ct_org_{number}",
            patient=f"ct_org_{number}",
            image=image,
            label=label,
            names=NAMES,
            split="test" if int(number) in _TEST else "training",
        )
        for number, (image, label) in pairs.items()
    ]
    return refuse_if_nothing(Found(cases, left_out, released=140), folder, _EXPECTED)

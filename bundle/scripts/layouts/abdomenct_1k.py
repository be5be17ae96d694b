"""AbdomenCT-1K: 1,000 abdominal CTs with liver, kidneys, spleen and pancreas.

Images `Case_00001_0000.nii.gz`, label maps `Case_00001.nii.gz`, in one folder or in folders of their own. There are
more images than label maps; no test part is public.
"""

from __future__ import annotations

import re
from pathlib import Path

from .found_cases import Found, FoundCase, checked_folder, pairs_below, refuse_if_nothing

NAMES = {"liver": [1], "kidney": [2], "spleen": [3], "pancreas": [4]}
WRONG_SPACING = {78, *(n for n in range(273, 287) if n != 279), 462, *range(574, 579)}
"""Cases whose header says 1 x 1 x 1 mm wrongly (issue 27 of the data set's repository)."""
_IMAGE, _LABEL = re.compile(r"Case_(\d{5})_0000\.nii(?:\.gz)?"), re.compile(r"Case_(\d{5})\.nii(?:\.gz)?")
_EXPECTED = "Case_00001_0000.nii.gz (images) and Case_00001.nii.gz (label maps) of AbdomenCT-1K, there or below"


def find_cases(folder: str | Path) -> Found:
    """The cases of AbdomenCT-1K.

    Args:
        folder: what was downloaded, unpacked.

    Raises:
        LayoutError: nothing of AbdomenCT-1K is there.
    """
    folder = checked_folder(folder, _EXPECTED)
    pairs, left_out = pairs_below(folder, _IMAGE, _LABEL, "abdomenct_1k_")
    cases = [
        FoundCase(
            case=f"abdomenct_1k_{number}",
            patient=f"abdomenct_1k_{number}",
            image=image,
            label=label,
            names=NAMES,
            spacing_is_doubted=int(number) in WRONG_SPACING,
        )
        for number, (image, label) in pairs.items()
    ]
    return refuse_if_nothing(Found(cases, left_out, released=1000), folder, _EXPECTED)

"""A datalist of the CT in TotalSegmentator's own tests.

    python benchmarks/totalsegmentator_datalist.py totalsegmentator_example_ct --output lists/totalsegmentator.json

reads `example_ct.nii.gz` and `example_seg_fast_force_split.nii.gz` (a model's labels, not manual ones; ids of the task
`total`) from https://github.com/wasserth/TotalSegmentator, `tests/reference_files`, Apache-2.0. Questions are in words
of the bank's test split. What the scan does not show is not asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from labelled_questions import questions, write_list

IMAGE, LABEL = "example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"

# Ids of the bank's concepts, and the ids of TotalSegmentator's task `total`, version 2.
LABEL_VALUES = {
    1: (5,),  # liver
    2: (2,),  # right kidney
    3: (3,),  # left kidney
    4: (1,),  # spleen
    5: (7,),  # pancreas
    6: (21,),  # bladder
    7: (12, 13, 14),  # lobes of the right lung
    8: (10, 11),  # lobes of the left lung
    9: (*range(25, 51), *range(69, 79), *range(91, 117)),  # sacrum and vertebrae; limbs and hips; skull to sternum
    10: (90,),  # brain
}


def totalsegmentator_list(folder: Path, output: Path, wordings: int, seed: int) -> Path:
    """Writes the list.

    Args:
        folder: holds the two files.
        output: the JSON file.
        wordings: questions of each organ and type.
        seed: of the questions.

    Raises:
        ValueError: a file is missing.
    """
    for name in (IMAGE, LABEL):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no {name}; give the folder of TotalSegmentator's reference files.")
    rng = np.random.default_rng(seed)
    return write_list(questions(folder / IMAGE, folder / LABEL, LABEL_VALUES, "wide", "test", wordings, rng), output)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Write a datalist of TotalSegmentator's example.")
    parser.add_argument("folder", type=Path, help="holds the CT and its labels")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--wordings", type=int, default=1, help="of each organ and type")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(totalsegmentator_list(options.folder, options.output, options.wordings, options.seed))


if __name__ == "__main__":
    main()

"""Datalists of OpenKBP: head-and-neck CT with the organs that radiotherapy spares.

    python benchmarks/openkbp_datalist.py openkbp --output_dir lists

reads `openkbp/train` and `openkbp/validation`, `<patient>_ct.nii.gz` with `<patient>_oar.nii.gz` each (1 brainstem, 2
spinal cord, 3 right parotid, 4 left parotid, 5 esophagus, 6 larynx, 7 mandible), and writes `train.json` and
`development.json`, the latter every sixth patient of `train`, and `test.json`, those of `validation`. Each list is
worded in its own split of the query bank. An organ without a contour was not drawn, which does not mean that it is not
there: nothing is asked about it. Babier et al., OpenKBP: the open-access knowledge-based planning grand challenge,
arXiv 2011.14076.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from labelled_questions import questions, write_list

# Ids of the bank's `head_neck` concepts, and the values in the files.
LABEL_VALUES = {organ: (organ - 12,) for organ in range(13, 20)}


def openkbp_lists(folder: Path, output_dir: Path, wordings: int, seed: int) -> dict[str, Path]:
    """Writes the three lists; returns their paths by name.

    Args:
        folder: holds `train` and `validation`.
        output_dir: made when it is missing.
        wordings: questions of each organ and type about each patient.
        seed: of the questions.

    Raises:
        ValueError: a folder without patients.
    """
    images = {name: sorted((folder / name).glob("*_ct.nii.gz")) for name in ("train", "validation")}
    for name, found in images.items():
        if not found:
            raise ValueError(f"{folder / name} holds no *_ct.nii.gz; give the folder that holds train and validation.")
    chosen = {
        "train": [image for number, image in enumerate(images["train"]) if number % 6 != 5],
        "development": images["train"][5::6],
        "test": images["validation"],
    }
    words = {"train": "train", "development": "validation", "test": "test"}
    lists = {}
    for name, patients in chosen.items():
        rng = np.random.default_rng((seed, list(chosen).index(name)))
        entries = [
            entry
            for image in patients
            for entry in questions(image, _label_of(image), LABEL_VALUES, "head_neck", words[name], wordings, rng)
        ]
        lists[name] = write_list(entries, output_dir / f"{name}.json")
    return lists


def _label_of(image: Path) -> Path:
    return image.with_name(image.name.replace("_ct.nii.gz", "_oar.nii.gz"))


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Write datalists of OpenKBP.")
    parser.add_argument("folder", type=Path, help="holds train and validation")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--wordings", type=int, default=1, help="of each organ and type, for each patient")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lists = openkbp_lists(options.folder, options.output_dir, options.wordings, options.seed)
    for name, path in lists.items():
        print(f"{name}: {path}")


if __name__ == "__main__":
    main()

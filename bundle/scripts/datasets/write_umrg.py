"""Write a miniature of U-MRG: questions about slices of phantoms in the looks of ten modalities, as parquet files.

    python -m medvol_r1.datasets.write_umrg --train 200 --test 50 --output_dir umrg

writes `train.parquet` and `test.parquet` in the form that `layouts.umrg` reads and `prepare.json --dataset umrg` makes
lists of.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import

from ..anchor import IMAGE_KEYS
from ..images.picture_file import png_bytes
from ..phantom.looks import MODALITIES, look_of
from ..phantom.scan import SUBSETS, make_phantom, seeds_of
from ..queries.bank import TYPES, Query, sample_queries
from ..targets import inner_points
from ..umrg.marks import true_anchor

pyarrow, _ = optional_import("pyarrow")
parquet, _ = optional_import("pyarrow.parquet")

_SUPERCATEGORIES = {"organs": "abdominal organ", "whole_body": "organ of the trunk", "renal": "kidney and lesion"}
_SLICES_OF_A_PHANTOM = 8
_TYPES = tuple(kind for kind in TYPES if kind != "H")  # an answer of the form "image" cannot say that nothing is there
_SPECK = 12  # pixels; fewer are no target of a further question


def write_umrg(output_dir: str | Path, train: int, test: int, size: int = 96) -> Path:
    """Writes both tables; the same arguments give the same rows.

    Args:
        output_dir: made when it is missing; tables in it are replaced.
        train: rows of `train.parquet`, in the words of the bank's training split, about phantoms of that split.
        test: rows of `test.parquet`, of the test split.
        size: rows and columns of an image.

    Returns:
        The folder.

    Raises:
        ValueError: fewer than one row.
    """
    if train < 1 or test < 1:
        raise ValueError(f"train is {train} and test is {test}; give at least one row each")
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        rows = [_row(seed, number, split, size) for number, seed in enumerate(seeds_of(split, count))]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}.parquet")
    return folder


class _Sample(NamedTuple):
    """Questions, with the masks [H, W] that answer them, about the slice of a phantom that shows the most of the first
    one's target."""

    picture: np.ndarray
    questions: list[tuple[Query, np.ndarray]]
    modality: str
    supercategory: str


def write_images(
    output_dir: str | Path, split: str, count: int, size: int = 96, questions: int = 1, first: int = 0
) -> str:
    """Writes the same images as PNG beside a list of cases, without tables.

    Args:
        output_dir: made when it is missing; files of the same names are replaced.
        split: "train", "validation" or "test".
        count: how many.
        size: rows and columns of an image.
        questions: about each image at most; the first one is that of the tables.
        first: the number of the first image, for images that no other list of the split has.

    Returns:
        The path of the list, `<split>.json`.

    Raises:
        ValueError: an unknown split, or more than it has seeds for.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, seed in list(enumerate(seeds_of(split, first + count)))[first:]:
        sample = _sample(seed, number, split, size, questions)
        name = f"{split}_{number}"
        (folder / f"{name}.png").write_bytes(png_bytes(sample.picture))
        for place, (query, mask) in enumerate(sample.questions):
            case = f"{name}_{place + 1}" if place else name
            (folder / f"{case}_mask.png").write_bytes(png_bytes(mask.astype(np.uint8) * 255))
            anchor = true_anchor({}, mask[None])
            stated = (*anchor.boxes_xyxy_1000, *anchor.points_xy_1000[0]) if anchor else ()
            entries.append(
                {
                    "image": f"{name}.png",
                    "label": f"{case}_mask.png",
                    "query": query.text,
                    "case": case,
                    "patient": name,
                    "target": query.target,
                    "type": sample.modality,
                    "subset": sample.supercategory,
                    "marks": dict(zip(IMAGE_KEYS, map(list, stated), strict=True)),
                }
            )
    path = folder / f"{split}.json"
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return str(path)


def _sample(seed: int, number: int, split: str, size: int, questions: int = 1) -> _Sample:
    rng = np.random.default_rng(seed)
    subset = SUBSETS[number % len(SUBSETS)]
    modality = MODALITIES[number % len(MODALITIES)]
    phantom = make_phantom(seed, subset, shape=(size, size, _SLICES_OF_A_PHANTOM), canonical=True)
    label = phantom.label.transpose(2, 1, 0)
    ((query, target),) = sample_queries(label, subset, split, 1, rng, types=_TYPES)
    index = int(np.count_nonzero(target, axis=(1, 2)).argmax())
    picture = look_of(modality, phantom.image[:, :, index].T, rng)
    shown = label[index : index + 1]
    further = sample_queries(shown, subset, split, questions - 1, rng, types=_TYPES)
    seen = [(query, mask[0]) for query, mask in further if np.count_nonzero(mask) >= _SPECK]
    return _Sample(picture, [(query, target[index]), *seen], modality, _SUPERCATEGORIES[subset])


def _row(seed: int, number: int, split: str, size: int) -> dict[str, Any]:
    """A row of a table; box and points in pixels of the image."""
    sample = _sample(seed, number, split, size)
    ((query, mask),) = sample.questions
    rows, columns = np.nonzero(mask)
    truth = {
        "bbox_2d": [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1],
        "point_2d": inner_points(mask).tolist(),
    }
    return {
        "data_source": "umrg",
        "images": [{"bytes": png_bytes(sample.picture), "path": None}],
        "masks": [{"bytes": png_bytes(mask.astype(np.uint8) * 255), "path": None}],
        "prompt": [{"role": "user", "content": f"<image>{query.text}"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
        "extra_info": {
            "id": f"{split}_{number}",
            "supercategory": sample.supercategory,
            "category": query.target,
            "modality": sample.modality,
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the top of the file."""
    parser = argparse.ArgumentParser(description="Write a miniature of U-MRG as parquet files.")
    parser.add_argument("--train", type=int, default=200, help="rows of train.parquet")
    parser.add_argument("--test", type=int, default=50, help="rows of test.parquet")
    parser.add_argument("--size", type=int, default=96, help="rows and columns of an image")
    parser.add_argument("--output_dir", required=True)
    options = parser.parse_args(arguments)
    folder = write_umrg(options.output_dir, options.train, options.test, options.size)
    print(f"{options.train} and {options.test} rows -> {folder}")


if __name__ == "__main__":
    main()

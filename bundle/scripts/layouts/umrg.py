"""U-MRG-14K (MedReasoner): questions about single images of ten modalities, in parquet files.

A row has `images` and `masks` (files inside the table, one of each), `prompt` (messages, the first is the question),
`reward_model.ground_truth` (JSON: `bbox_2d` and `point_2d` in pixels of the image) and `extra_info` (`id`,
`supercategory`, `category`, and `modality` where it is told). A file whose name says "train" or "test" is that part.
The files in the tables are unpacked, an image that several rows ask about once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import

from ..anchor import IMAGE_KEYS, boxes_px_to_1000, points_px_to_1000
from ..datasets.datalist import name_of_image
from ..images.failures import ImageError
from ..images.picture_file import read_picture
from ..volume.windows import FULL_RANGE
from .found_cases import Found, FoundCase, LayoutError, LeftOut, checked_folder, refuse_if_nothing

pyarrow, has_pyarrow = optional_import("pyarrow.parquet")

_COLUMNS = ("images", "masks", "prompt", "reward_model", "extra_info")
_EXPECTED = f"parquet files with the columns {', '.join(_COLUMNS)}, whose names say train or test"
_PARTS = (("test", "test"), ("train", "training"))
# Tokens that stand for the image in a prompt; here it is given apart.
_IMAGE_TOKEN = "<image>"
_ROWS_AT_A_TIME = 64


def find_cases(folder: str | Path, unpack_to: str | Path) -> Found:
    """The rows of all tables, each a case with its question and its true marks.

    Args:
        folder: holds the parquet files, at any depth.
        unpack_to: where images and masks are written, as they are in the tables; made when absent.

    Raises:
        LayoutError: no such table is there, or one that cannot be read.
        ImportError: pyarrow is not installed.
    """
    folder = checked_folder(folder, _EXPECTED)
    if not has_pyarrow:
        raise ImportError(
            'parquet is read by pyarrow, and it is not installed: python -m pip install -c constraints.txt -e ".[trl]"'
        )
    cases: dict[str, FoundCase] = {}
    left_out = []
    for path in sorted(folder.rglob("*.parquet")):
        split = next((split for word, split in _PARTS if word in path.stem.lower()), None)
        for number, row in _rows_of(path):
            name = f"umrg_{name_of_image(str((row['extra_info'] or {}).get('id', f'{path.stem}_{number}')))}"
            if name in cases:
                left_out.append(LeftOut(name, "duplicate_case", f"row {number} of {path} has the id of another row"))
                continue
            try:
                cases[name] = _case(name, row, split, Path(unpack_to))
            except (KeyError, TypeError, ValueError, ImageError) as error:
                left_out.append(LeftOut(name, "bad_row", f"row {number} of {path} cannot be used: {_told(error)}"))
    return refuse_if_nothing(Found(list(cases.values()), left_out), folder, _EXPECTED)


def _rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their number, a few in memory at a time."""
    try:
        table = pyarrow.ParquetFile(path)
    except (OSError, ValueError) as error:
        told = f"{path} is no parquet file, or not all of one ({error}); get it again"
        raise LayoutError("bad_table", told) from error
    lacking = [column for column in _COLUMNS if column not in table.schema_arrow.names]
    if lacking:
        raise LayoutError("bad_table", f"{path} lacks the columns {', '.join(lacking)}; expected are {_EXPECTED}")
    number = 0
    for batch in table.iter_batches(_ROWS_AT_A_TIME, columns=list(_COLUMNS)):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _case(name: str, row: Mapping[str, Any], split: str | None, folder: Path) -> FoundCase:
    """A row as a case, its files unpacked.

    Raises:
        KeyError, TypeError, ValueError: something is not there, or is not what it should be.
        ImageError: the mask cannot be read.
    """
    image, mask = (_unpacked(_only(row[column], column), folder / column) for column in ("images", "masks"))
    target = read_picture(mask, is_label=True).pixels[0]
    values = sorted({int(value) for value in np.unique(target)} - {0})
    if len(values) != 1:
        raise ValueError(f"the mask has the values {values} beside 0; one is legal")
    info = row["extra_info"]
    category = str(info["category"])
    question = {
        "query": _question(row["prompt"]),
        "label_values": values,
        "target": category,
        "subset": str(info["supercategory"]),
        "marks": _marks(row["reward_model"]["ground_truth"], target.shape),
    }
    if info.get("modality"):
        question["type"] = str(info["modality"])
    return FoundCase(
        name, f"umrg_{image.stem}", image, mask, {category: values},
        split=split, questions=(question,), intensity=FULL_RANGE,
    )  # fmt: skip


def _only(files: Any, column: str) -> bytes:
    """The bytes of the one file in a cell."""
    if not isinstance(files, list) or len(files) != 1:
        raise ValueError(f"`{column}` holds {len(files or ())} files; one is legal")
    content = files[0]["bytes"] if isinstance(files[0], dict) else files[0]
    if not isinstance(content, bytes) or not content:
        raise ValueError(f"`{column}` holds no bytes of a file")
    return content


def _unpacked(content: bytes, folder: Path) -> Path:
    """The file with that content; its name is that of its content, so the same one is written once."""
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(path)
    return path


def _question(prompt: Any) -> str:
    text = prompt[0]["content"].replace(_IMAGE_TOKEN, " ").strip()
    if not text:
        raise ValueError("its prompt holds no question")
    return text


def _marks(ground_truth: str, shape: tuple[int, int]) -> dict[str, list[int]]:
    """Box and points, from pixels of the image to 0 to 1000, as an answer states them."""
    truth = json.loads(ground_truth)
    height, width = shape
    box = np.array(truth["bbox_2d"], dtype=float).reshape(4)
    points = np.array(truth["point_2d"], dtype=float).reshape(2, 2)
    inside = (points >= 0).all() and (points <= [width, height]).all() and (box[2:] <= [width, height]).all()
    if not (inside and (box[:2] >= 0).all() and (box[:2] < box[2:]).all()):
        raise ValueError(f"its ground truth {truth} is no box with two points in {width} x {height} pixels")
    stated = (*boxes_px_to_1000([tuple(box)], height, width), *points_px_to_1000(points, height, width))
    return dict(zip(IMAGE_KEYS, map(list, stated), strict=True))


def _told(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)

"""The miniature of U-MRG: written as the data set is, read by its reader, repeatable."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `trl`")

from medvol_r1.datasets.datalist import TRAINING, read_datalist  # noqa: E402
from medvol_r1.datasets.write_umrg import main, write_images, write_umrg  # noqa: E402
from medvol_r1.images.picture_file import read_picture  # noqa: E402
from medvol_r1.layouts.umrg import find_cases  # noqa: E402
from medvol_r1.phantom.looks import MODALITIES  # noqa: E402
from medvol_r1.umrg.marks import true_marks  # noqa: E402
from pyarrow import parquet  # noqa: E402


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    return write_umrg(tmp_path_factory.mktemp("umrg"), train=10, test=2, size=48)


def test_it_has_the_columns_of_the_data_set(miniature):
    rows = parquet.read_table(miniature / "train.parquet").to_pylist()
    assert [row["extra_info"]["modality"] for row in rows] == list(MODALITIES)
    for row in rows:
        assert set(row) == {"data_source", "images", "masks", "prompt", "reward_model", "extra_info"}
        assert row["data_source"] == "umrg" and set(row["extra_info"]) >= {"id", "supercategory", "category"}
        truth = json.loads(row["reward_model"]["ground_truth"])
        (x1, y1, x2, y2), points = truth["bbox_2d"], np.array(truth["point_2d"])
        assert x1 < x2 <= 48 and y1 < y2 <= 48 and points.shape == (2, 2)


def test_its_reader_finds_every_row_and_the_marks_of_its_masks(miniature, tmp_path):
    found = find_cases(miniature, tmp_path)
    assert not found.left_out and [case.split for case in found.cases] == ["test"] * 2 + ["training"] * 10
    for case in found.cases:
        marks = true_marks(read_picture(case.label, is_label=True).pixels[0] > 0)
        first, second = marks.points.tolist()
        assert case.questions[0]["marks"] == {"bbox": marks.box.tolist(), "points_1": first, "points_2": second}


def test_the_command_writes_the_same_rows_again(miniature, tmp_path, capsys):
    main(["--train", "10", "--test", "2", "--size", "48", "--output_dir", str(tmp_path)])
    assert capsys.readouterr().out == f"10 and 2 rows -> {tmp_path}\n"
    for name in ("train.parquet", "test.parquet"):
        assert parquet.read_table(tmp_path / name).equals(parquet.read_table(miniature / name))


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train is 0 and test is 1; give at least one row each"):
        write_umrg(tmp_path, train=0, test=1)


def test_the_same_images_come_as_a_list(miniature, tmp_path):
    path = write_images(tmp_path, "train", 3, size=48)
    entries = read_datalist(path, TRAINING)
    rows = parquet.read_table(miniature / "train.parquet").to_pylist()
    for entry, row in zip(entries, rows, strict=False):
        assert Path(entry["image"]).read_bytes() == row["images"][0]["bytes"]
        assert entry["query"] == row["prompt"][0]["content"].removeprefix("<image>")
        assert (entry["type"], entry["target"]) == (row["extra_info"]["modality"], row["extra_info"]["category"])
        marks = true_marks(read_picture(entry["label"], is_label=True).pixels[0] > 0)
        assert entry["marks"]["bbox"] == marks.box.tolist()


def test_a_list_may_begin_later(tmp_path):
    three = read_datalist(write_images(tmp_path / "three", "test", 3, size=48), TRAINING)
    (last,) = read_datalist(write_images(tmp_path / "last", "test", 1, size=48, first=2), TRAINING)
    assert [entry["query"] for entry in three[2:]] == [last["query"]] and last["case"] == "test_2"
    assert Path(last["image"]).read_bytes() == Path(three[2]["image"]).read_bytes()


def test_an_image_may_be_asked_several_things(tmp_path):
    once, often = (read_datalist(write_images(tmp_path / str(n), "train", 3, 48, n), TRAINING) for n in (1, 4))
    assert [entry["case"] for entry in often][:2] == ["train_0", "train_0_2"] and 3 < len(often) <= 12
    for first in once:
        ((same, *further),) = [[e for e in often if e["patient"] == first["case"]]]
        assert (same["query"], same["marks"]) == (first["query"], first["marks"])
        assert {entry["image"] for entry in further} == {same["image"]}
        sizes = [np.count_nonzero(read_picture(entry["label"], is_label=True).pixels) for entry in further]
        assert min(sizes, default=12) >= 12

"""U-MRG's tables: rows become cases with their files, question and marks; rows that cannot be used are named."""

import io
import json

import numpy as np
import pytest
from medvol_r1.images.picture_file import read_picture
from medvol_r1.layouts.found_cases import LayoutError
from PIL import Image

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `trl`")

from medvol_r1.layouts.umrg import find_cases  # noqa: E402
from pyarrow import parquet  # noqa: E402

# 20 rows, 40 columns; a pixel is 25 units along x and 50 along y.
MASK = np.zeros((20, 40), np.uint8)
MASK[5:15, 8:24] = 255
TRUTH = {"bbox_2d": [8, 5, 24, 15], "point_2d": [[12, 10], [20, 10]]}


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def row(number=0, **changes):
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    plain = {
        "data_source": "umrg",
        "images": [{"bytes": png(image), "path": None}],
        "masks": [{"bytes": png(MASK), "path": None}],
        "prompt": [{"role": "user", "content": "<image>\nWhat has grown beyond its border?"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(TRUTH)},
        "extra_info": {"id": str(number), "supercategory": "lesion", "category": "melanoma", "modality": "dermoscopy"},
    }
    return plain | changes


def table(folder, rows, name="train.parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    return folder


def test_a_row_is_a_case_with_its_question_and_marks(tmp_path):
    folder = table(tmp_path / "in", [row(7)])
    table(folder / "data", [row(8)], "test-00000-of-00001.parquet")
    found = find_cases(folder, tmp_path / "out")
    assert {case.case: case.split for case in found.cases} == {"umrg_7": "training", "umrg_8": "test"}
    case = found.cases[1]
    assert case.names == {"melanoma": [255]} and case.intensity == "full_range" and not found.left_out
    assert case.questions == (
        {
            "query": "What has grown beyond its border?",
            "label_values": [255],
            "target": "melanoma",
            "subset": "lesion",
            "type": "dermoscopy",
            # 8 / 40, 5 / 20, 24 / 40, 15 / 20; and 12 / 40, 10 / 20, 20 / 40
            "marks": {"bbox": [200, 250, 600, 750], "points_1": [300, 500], "points_2": [500, 500]},
        },
    )
    assert np.array_equal(read_picture(case.label, is_label=True).pixels[0], MASK)
    assert read_picture(case.image).pixels.shape == (3, 20, 40)


def test_rows_about_one_image_share_its_file_and_its_patient(tmp_path):
    found = find_cases(table(tmp_path / "in", [row(0), row(1)]), tmp_path / "out")
    assert len({case.image for case in found.cases}) == len({case.patient for case in found.cases}) == 1
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    before = found.cases[0].image.stat().st_mtime_ns
    assert find_cases(tmp_path / "in", tmp_path / "out").cases[0].image.stat().st_mtime_ns == before


def test_without_a_modality_there_is_no_type(tmp_path):
    info = {"id": "0", "supercategory": "lesion", "category": "melanoma"}
    (case,) = find_cases(table(tmp_path / "in", [row(extra_info=info)]), tmp_path / "out").cases
    assert "type" not in case.questions[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "`images` holds 0 files; one is legal"),
        ({"masks": [{"bytes": b"", "path": "mask.png"}]}, "`masks` holds no bytes of a file"),
        ({"masks": [{"bytes": b"no png", "path": None}]}, "is empty, damaged, or no image"),
        ({"masks": [{"bytes": png(MASK * 0), "path": None}]}, r"the mask has the values \[\] beside 0"),
        ({"masks": [{"bytes": png(np.arange(4, dtype=np.uint8)[None]), "path": None}]}, r"values \[1, 2, 3\] beside 0"),
        ({"prompt": [{"role": "user", "content": "<image> "}]}, "its prompt holds no question"),
        ({"reward_model": {"style": "rule", "ground_truth": "{}"}}, "it has no 'bbox_2d'"),
        ({"reward_model": {"style": "rule", "ground_truth": "NaN,"}}, "Extra data"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"bbox_2d": [24, 5, 8, 15]})}}, "is no box with two"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"bbox_2d": [8, 5, 41, 15]})}}, "in 40 x 20 pixels"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"point_2d": [[1, 2], [3, 21]]})}}, "is no box with two"),
        ({"reward_model": {"ground_truth": json.dumps(TRUTH | {"point_2d": [[1, 2]]})}}, "cannot reshape"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out(tmp_path, changes, message):
    found = find_cases(table(tmp_path / "in", [row(0), row(1, **changes)]), tmp_path / "out")
    assert [case.case for case in found.cases] == ["umrg_0"]
    (left,) = found.left_out
    assert (left.case, left.reason) == ("umrg_1", "bad_row") and left.message.startswith("row 2 of ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(left.message)


def test_an_id_counts_once(tmp_path):
    folder = table(tmp_path / "in", [row(0)])
    table(folder, [row(0)], "test.parquet")
    found = find_cases(folder, tmp_path / "out")
    assert [(left.case, left.reason) for left in found.left_out] == [("umrg_0", "duplicate_case")]


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(LayoutError, match="Expected: parquet files with the columns images, masks, prompt"):
        (tmp_path / "empty").mkdir()
        find_cases(tmp_path / "empty", tmp_path / "out")
    parquet.write_table(pyarrow.table({"images": [1]}), tmp_path / "train.parquet")
    with pytest.raises(LayoutError, match="train.parquet lacks the columns masks, prompt, reward_model, extra_info"):
        find_cases(tmp_path, tmp_path / "out")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(LayoutError, match="is no parquet file, or not all of one") as caught:
        find_cases(tmp_path, tmp_path / "out")
    assert caught.value.reason == "bad_table"

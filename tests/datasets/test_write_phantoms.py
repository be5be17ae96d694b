import json

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.datasets.write_phantoms import main, write_phantoms
from medvol_r1.phantom.scan import SEEDS, make_phantom

SHAPE = (48, 48, 20)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "renal"
    datalist = write_phantoms(folder, "renal", "test", 2, queries_per_phantom=3, shape=SHAPE)
    return folder, json.loads(datalist.read_text(encoding="utf-8"))


def test_entries(written):
    folder, entries = written
    assert len(entries) == 2 * 3
    assert len({entry["case"] for entry in entries}) == 6
    assert {entry["patient"] for entry in entries} == {f"renal_{seed}" for seed in SEEDS["test"][:2]}
    for entry in entries:
        assert {"image", "label", "query", "target", "type", "case"} <= set(entry)
        assert (folder / entry["image"]).is_file()
        assert entry["label"].startswith(entry["patient"]) and entry["label"].endswith("_label.nii.gz")
        assert (entry["subset"], entry["patient"].rpartition("_")[0]) == ("renal", "renal")
        assert type(entry["implicitness"]) is int and entry["laterality"] in ("right", "left", "both", "none")
        assert (folder / entry["label"]).is_file()
        assert entry["type"] in set("ABCDEFGH") and entry["query"].strip()


def test_files_hold_the_phantom(written):
    folder, entries = written
    phantom = make_phantom(SEEDS["test"][0], "renal", shape=SHAPE)
    image = nib.load(folder / entries[0]["image"])
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.get_fdata(), phantom.image, atol=0.5)  # rounded to whole HU
    np.testing.assert_allclose(image.affine, phantom.affine, atol=1e-4)  # the header keeps float32
    np.testing.assert_allclose(image.get_qform(), phantom.affine, atol=1e-3)  # quaternion in float32
    for entry in entries[:3]:
        label = nib.load(folder / entry["label"])
        mask = np.asarray(label.dataobj)
        assert mask.dtype == np.uint8 and mask.shape == phantom.label.shape
        np.testing.assert_array_equal(label.affine, image.affine)
        assert mask.any() == (entry["type"] != "H")
        assert set(np.unique(mask)) <= {0, 1}
        assert (phantom.label[mask > 0] > 0).all()


def test_a_target_with_a_side_has_the_mask_of_the_other_side(tmp_path):
    datalist = write_phantoms(tmp_path, ["organs", "whole_body"], "validation", 1, queries_per_phantom=12, shape=SHAPE)
    entries = json.loads(datalist.read_text(encoding="utf-8"))
    assert [entry["subset"] for entry in entries] == ["organs"] * 12 + ["whole_body"] * 12
    sided = [entry for entry in entries if entry["laterality"] in ("right", "left")]
    assert sided and all(("opposite_label" in entry) == (entry in sided) for entry in entries)
    ids = {"right kidney": 2, "left kidney": 3, "right lung": 7, "left lung": 8}
    swapped = {"right kidney": 3, "left kidney": 2, "right lung": 8, "left lung": 7}
    for entry in sided:
        label = make_phantom(SEEDS["validation"][0], entry["subset"], shape=SHAPE).label
        for key, expected in (("label", ids), ("opposite_label", swapped)):
            mask = np.asarray(nib.load(tmp_path / entry[key]).dataobj)
            np.testing.assert_array_equal(mask > 0, label == expected[entry["target"]])


def test_one_query_per_phantom_names_the_case_after_the_patient(tmp_path):
    arguments = ["--subset", "organs", "--split", "pretrain", "--count", "1", "--output_dir", str(tmp_path / "new")]
    main([*arguments, "--shape", "32", "32", "16", "--first", "7", "--canonical"])
    (entry,) = json.loads((tmp_path / "new" / "datalist.json").read_text(encoding="utf-8"))
    assert entry["case"] == entry["patient"] == "organs_3000007"
    assert nib.aff2axcodes(nib.load(tmp_path / "new" / entry["image"]).affine) == ("L", "P", "S")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--count": "0"}, "count must be >= 1"),
        ({"--first": "10000"}, "at most 10000 for split 'test'; got first=10000, count=1"),
        ({"--split": "dev"}, "invalid choice: 'dev'"),
        ({"--subset": "heart"}, "invalid choice: 'heart'"),
        ({"--queries_per_phantom": "0"}, "queries_per_phantom must be >= 1, got 0"),
    ],
)
def test_bad_options(tmp_path, capsys, changed, message):
    options = {"--subset": "organs", "--split": "test", "--count": "1", "--output_dir": str(tmp_path)} | changed
    with pytest.raises(SystemExit) as stop:
        main([word for pair in options.items() for word in pair])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_output_dir_is_a_file(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit):
        main(["--subset", "organs", "--split", "test", "--count", "1", "--output_dir", str(tmp_path / "taken")])
    assert "output_dir must be a folder" in capsys.readouterr().err

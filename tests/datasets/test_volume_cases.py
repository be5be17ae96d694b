import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.datasets import volume_cases
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.datasets.volume_cases import Target, VolumeCaseDataset, read_volume_cases
from medvol_r1.volume.geometry import SliceGeometry, shown_mask
from medvol_r1.volume.io import read_volume
from medvol_r1.volume.transforms import LoadVolumed, OrientByAffined, ResizeSlicesd, SampleSlicesd, WindowHUd
from monai.transforms import Compose

SHAPE = (18, 14, 10)
# Oblique, permuted and flipped: array axes near superior, left, anterior.
AFFINE = np.array([[0.1, -1.5, 0, 5], [0, 0.1, 1.5, 6], [3.0, 0, 0.1, 7], [0, 0, 0, 1]])


def save(path, voxels, affine=AFFINE):
    nib.save(nib.Nifti1Image(voxels, affine), path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    save(tmp_path / "ct.nii.gz", rng.normal(0, 300, SHAPE).astype(np.int16))
    save(tmp_path / "map.nii.gz", rng.integers(0, 4, SHAPE).astype(np.uint8))
    return tmp_path


def write(folder, entries):
    path = folder / "datalist.json"
    path.write_text(json.dumps(entries))
    return path


def preprocessing(size=16):
    return Compose(
        [
            LoadVolumed("image"),
            OrientByAffined("image"),
            SampleSlicesd("image", 6),
            WindowHUd("image"),
            ResizeSlicesd("image", size),
        ]
    )


def prepared(folder, entries):
    return VolumeCaseDataset(read_volume_cases(write(folder, entries)), preprocessing())


def test_queries_of_a_volume_stand_together_in_the_order_of_the_list(folder):
    entries = [{"image": i, "query": q, "case": q} for i, q in (("a.nii", "1"), ("b.nii", "2"), ("a.nii", "3"))]
    volumes = read_volume_cases(write(folder, entries))
    assert [(volume["case"], [entry["query"] for entry in volume["queries"]]) for volume in volumes] == [
        ("1", ["1", "3"]),
        ("2", ["2"]),
    ]
    assert volumes[0]["queries"][0]["patient"] == "a.nii", "without a patient the volume is one"


def test_a_counterpart_is_found_among_the_other_queries_of_the_volume(folder):
    entries = [
        {"image": "a.nii", "query": "1", "target": "right kidney", "label": "m.nii", "label_values": [2]},
        {"image": "a.nii", "query": "2", "target": "left kidney", "label": "m.nii", "label_values": [3]},
        {"image": "b.nii", "query": "3", "target": "left kidney", "label": "n.nii"},
        {"image": "a.nii", "query": "4", "target": "liver", "label": "m.nii", "label_values": [1]},
    ]
    first, second = read_volume_cases(write(folder, entries))
    assert first["queries"][0]["opposite_label"] == str(folder / "m.nii")
    assert [entry.get("opposite_values") for entry in first["queries"]] == [[3], [2], None]
    assert "opposite_label" not in second["queries"][0]


def test_targets_by_label_values_on_both_grids(folder):
    label = np.asarray(nib.load(folder / "map.nii.gz").dataobj)
    entries = [
        {"image": "ct.nii.gz", "query": "all", "label": "map.nii.gz"},
        {"image": "ct.nii.gz", "query": "some", "label": "map.nii.gz", "label_values": [1, 3]},
        {"image": "ct.nii.gz", "query": "none"},
    ]
    item = prepared(folder, entries)[0]
    everything, some, nothing = item["targets"]
    np.testing.assert_array_equal(everything.source.full(), label > 0)
    np.testing.assert_array_equal(some.source.full(), np.isin(label, (1, 3)))
    assert some.shown.shape == item["image"].shape[1:] == (6, 16, 16)
    assert nothing is None and item["failures"] == [None] * 3 and some.opposite is None


def test_the_shown_target_is_what_the_transforms_make_of_its_label(folder):
    keys = ["image", "label"]
    by_transforms = Compose(
        [
            LoadVolumed(keys),
            OrientByAffined(keys),
            SampleSlicesd(keys, 6),
            ResizeSlicesd(keys, 11, mode=["bilinear", "nearest"]),
        ]
    )({"image": folder / "ct.nii.gz", "label": folder / "map.nii.gz"})
    label = np.asarray(nib.load(folder / "map.nii.gz").dataobj)
    shown = shown_mask(label == 2, SliceGeometry.from_meta(by_transforms["image"].meta), 11, 11)
    assert torch.equal(torch.from_numpy(shown), by_transforms["label"][0].as_tensor() == 2)
    with pytest.raises(ValueError, match=r"a mask of shape \(2, 2, 2\) is not on the source grid \(18, 14, 10\)"):
        shown_mask(np.zeros((2, 2, 2), bool), SliceGeometry.from_meta(by_transforms["image"].meta), 11, 11)


def test_a_label_file_is_read_once_for_all_queries_of_a_volume(folder, monkeypatch):
    reads = []

    def counted(path, **kwargs):
        reads.append(Path(path).name)
        return read_volume(path, **kwargs)

    monkeypatch.setattr(volume_cases, "read_volume", counted)
    save(folder / "other.nii.gz", np.ones(SHAPE, np.uint8))
    save(folder / "moved.nii.gz", np.ones(SHAPE, np.uint8), np.diag([1.5, 1.5, 3.0, 1.0]))
    common = {"image": "ct.nii.gz", "label": "map.nii.gz", "opposite_label": "map.nii.gz"}
    entries = [common | {"query": str(n), "label_values": [n % 3 + 1], "opposite_values": [3]} for n in range(10)]
    entries += [{"image": "ct.nii.gz", "query": "x", "label": name} for name in ["other.nii.gz", "moved.nii.gz"] * 2]
    item = prepared(folder, [entry | {"case": str(number)} for number, entry in enumerate(entries)])[0]
    assert sorted(reads) == ["map.nii.gz", "moved.nii.gz", "other.nii.gz"]
    label = np.asarray(nib.load(folder / "map.nii.gz").dataobj)
    for number, target in enumerate(item["targets"][:10]):
        np.testing.assert_array_equal(target.source.full(), label == number % 3 + 1)
        np.testing.assert_array_equal(target.opposite.full(), label == 3)
    failures = [target["case"] for target in item["targets"] if isinstance(target, dict)]
    assert failures == ["11", "13"], "each failure names its own case"


def test_values_that_are_almost_whole_are_the_target_and_soft_ones_are_refused(folder):
    label = np.asarray(nib.load(folder / "map.nii.gz").dataobj)
    save(folder / "almost.nii.gz", label.astype(np.float32) * 0.9999 + 1e-7)
    save(folder / "soft.nii.gz", label.astype(np.float32) / 3)
    names = ("map", "almost", "soft")
    common = {"image": "ct.nii.gz", "label_values": [1]}
    exact, almost, soft = prepared(folder, [common | {"query": name, "label": f"{name}.nii.gz"} for name in names])[0][
        "targets"
    ]
    assert exact.source.voxels and np.array_equal(exact.source.full(), almost.source.full())
    assert soft["reason"] == "not_labels"


def test_what_is_bad_fails_alone(folder):
    save(folder / "moved.nii.gz", np.ones(SHAPE, np.uint8), np.diag([1.5, 1.5, 3.0, 1.0]))
    save(folder / "nan.nii.gz", np.full(SHAPE, np.nan, np.float32))
    entries = [
        {"image": "ct.nii.gz", "query": "good", "label": "map.nii.gz"},
        {"image": "ct.nii.gz", "query": " ", "label": "map.nii.gz"},
        {"image": "ct.nii.gz", "query": "no label file", "label": "gone.nii.gz"},
        {"image": "ct.nii.gz", "query": "another space", "label": "moved.nii.gz"},
        {"image": "ct.nii.gz", "query": "not a number", "label": "nan.nii.gz"},
        {"image": "gone.nii.gz", "query": "no volume", "label": "map.nii.gz", "case": "lost"},
    ]
    good, broken = prepared(folder, entries)
    assert [failure and failure["reason"] for failure in good["failures"]] == [None, "empty_query", None, None, None]
    reasons = [target["reason"] for target in good["targets"][2:]]
    assert reasons == ["missing_file", "label_mismatch", "non_finite_voxels"]
    assert "image" not in broken and broken["failures"][0]["reason"] == "missing_file"
    assert isinstance(broken["targets"][0], Target) and broken["targets"][0].shown is None


def test_without_a_datalist_there_is_the_demo_or_an_error(tmp_path):
    volumes = read_volume_cases(None, lambda: write(tmp_path, [{"image": "a.nii", "query": "1"}]))
    assert [volume["image"] for volume in volumes] == [str(tmp_path / "a.nii")]
    with pytest.raises(DatalistError, match="nothing to do; give `datalist`"):
        read_volume_cases(None)


def test_a_dicom_series_has_the_targets_of_its_nifti(tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    values, affine = files.ct_values(), files.affine_of(turn_degrees=20)
    files.write_series(tmp_path / "series", values, affine)
    files.write_nifti(tmp_path / "ct.nii.gz", values, affine)
    files.write_nifti(tmp_path / "label.nii.gz", (values > 500).astype(np.uint8), affine)
    entries = [{"image": image, "label": "label.nii.gz", "query": "bone"} for image in ("series", "ct.nii.gz")]
    series, nifti = prepared(tmp_path, entries)
    assert torch.equal(series["image"].as_tensor(), nifti["image"].as_tensor())
    assert np.array_equal(series["targets"][0].shown, nifti["targets"][0].shown)
    assert np.array_equal(series["targets"][0].source.full(), nifti["targets"][0].source.full())

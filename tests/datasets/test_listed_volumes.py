import json

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.anchor import parse_completion
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.datasets.listed_volumes import ListedVolumes
from medvol_r1.targets import components_to_boxes
from medvol_r1.volume import transforms
from medvol_r1.volume.query_text import QueryError


@pytest.fixture
def listed(tmp_path):
    """A volume of 20 x 24 x 10 voxels in RAS with a cube, the left half brighter, and two queries about it."""
    image = np.full((20, 24, 10), -1000.0, dtype=np.float32)
    image[4:16, 6:18, 2:8] = 40
    label = np.zeros(image.shape, dtype=np.uint8)
    label[4:8, 6:18, 2:8] = 1
    label[12:16, 6:18, 4:5] = 2
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
    common = {"image": "ct.nii.gz", "label": "label.nii.gz"}
    entries = [common | {"query": "the $left, one", "target": "cube"}, common | {"query": "x", "label_values": [2]}]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(entries))
    return path


def test_listed_volume_in_the_shown_orientation(listed):
    volumes = ListedVolumes(listed, num_slices=10, slice_size=48, queries_per_volume=8, window=[-160, 240])
    assert len(volumes) == 1
    item = volumes[0]
    assert item.texts == ("the $left, one", "x") and item.targets == ("cube", "target")
    assert item.slices.shape == (10, 48, 48)
    # 40 HU in the window -160..240: 200 / 400
    assert item.slices[5, 24, 24].item() == pytest.approx(0.5, abs=1e-3)
    # In RAS x grows to the right of the patient's left... LPS columns grow to the left: x 12..16 of 20 becomes 4..8.
    # Rows grow to posterior: y 6..18 of 24 stays 6..18. Resized to 48: columns x 2.4, rows x 2.
    assert components_to_boxes(item.masks[1, 4].numpy()) == [(10, 12, 19, 36)]
    assert item.masks[1].sum(dim=(1, 2)).nonzero().flatten().tolist() == [4]
    anchor = parse_completion(item.completions[1], num_slices=10)
    assert anchor.key_index == 4


@pytest.mark.parametrize(
    ("crop_to_body", "expected"),
    [
        # Voxels of 8 mm: the body is columns 4..16 and rows 6..18, 96 mm; with 8 mm around it columns 3..17 and rows
        # 5..19, which 56 pixels show at 4 pixels each. Columns 4..8 become 1..5, rows 6..18 become 1..13.
        (True, [(4, 4, 20, 52)]),
        # 20 columns and 24 rows on 56 pixels: columns times 2.8, rows times 7 / 3; pixels whose centres lie inside.
        (False, [(11, 14, 22, 42)]),
    ],
)
def test_the_body_fills_the_slice(listed, crop_to_body, expected):
    for name in ("ct", "label"):
        path = listed.with_name(f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([8.0, 8.0, 5.0, 1.0])), path)
    item = ListedVolumes(listed, num_slices=10, slice_size=56, crop_to_body=crop_to_body)[0]
    assert components_to_boxes(item.masks[1, 4].numpy()) == expected
    assert item.slices.shape == (10, 56, 56)


def test_a_label_file_is_read_once_for_all_queries_of_a_volume(listed, monkeypatch):
    entries = json.loads(listed.read_text())
    listed.write_text(json.dumps(entries * 5))
    reads, read = [], transforms.read_slices
    monkeypatch.setattr(transforms, "read_slices", lambda path, *a, **kw: reads.append(path) or read(path, *a, **kw))
    item = ListedVolumes(listed, num_slices=10, slice_size=48, queries_per_volume=10)[0]
    assert [path.rpartition("/")[2] for path in reads] == ["ct.nii.gz", "label.nii.gz"]
    sizes = item.masks.sum(dim=(1, 2, 3)).tolist()
    assert len(sizes) == 10 and len(set(sizes)) == 2 and sizes[:2] * 5 == sizes


def test_values_that_are_almost_whole_are_taught_and_soft_ones_are_refused(listed):
    exact = ListedVolumes(listed, num_slices=10, slice_size=48)[0]
    path = listed.parent / "label.nii.gz"
    label = nib.load(path)
    values = label.get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image(values * 0.9999 + 1e-7, label.affine), path)
    almost = ListedVolumes(listed, num_slices=10, slice_size=48)[0]
    assert torch.equal(exact.masks, almost.masks) and exact.completions == almost.completions
    nib.save(nib.Nifti1Image(values * 0.4, label.affine), path)
    with pytest.raises(RuntimeError) as caught:
        ListedVolumes(listed, num_slices=10, slice_size=48)[0]
    assert caught.value.__cause__.reason == "not_labels"


def test_a_volume_with_many_queries_is_several_items(listed):
    assert [len(item.texts) for item in ListedVolumes(listed, 4, 32, queries_per_volume=1)] == [1, 1]


@pytest.mark.parametrize(
    "text, error, message",
    [
        (None, DatalistError, "cannot be read.*train_datalist"),
        ("{", DatalistError, "not JSON"),
        ("[]", DatalistError, "holds an empty list; give a JSON list"),
        ('[{"image": "a"}]', DatalistError, 'entry 1 .* has no "label"'),
        ('[{"image": "list.json", "label": "list.json", "query": " "}]', QueryError, "is empty"),
        ('[{"image": "list.json", "label": "gone.nii", "query": "q"}]', DatalistError, "1 of the 2 files"),
    ],
)
def test_bad_lists(tmp_path, text, error, message):
    path = tmp_path / "list.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        ListedVolumes(path, 4, 32)

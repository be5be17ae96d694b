import json

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.anchor import parse_completion
from medvol_r1.datasets import listed_volumes
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.datasets.listed_volumes import ListedVolumes
from medvol_r1.targets import components_to_boxes
from medvol_r1.volume import transforms
from medvol_r1.volume.io import VolumeError
from medvol_r1.volume.query_text import QueryError
from PIL import Image


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
    # 40 HU in the window -160..240: 200 / 400 of 255, rounded to even
    assert item.slices[5, 24, 24].item() == pytest.approx(128 / 255)
    # In RAS x grows to the right of the patient's left... LPS columns grow to the left: x 12..16 of 20 becomes 4..8.
    # Rows grow to posterior: y 6..18 of 24 stays 6..18. Resized to 48: columns x 2.4, rows x 2.
    assert components_to_boxes(item.masks[1, 4].numpy()) == [(10, 12, 19, 36)]
    assert item.masks[1].sum(dim=(1, 2)).nonzero().flatten().tolist() == [4]
    anchor = parse_completion(item.completions[1], num_slices=10)
    assert anchor.key_index == 4


def test_a_coupled_target_is_reasoned_about_in_plain_words(listed):
    entries = json.loads(listed.read_text(encoding="utf-8"))
    listed.write_text(json.dumps([entries[0] | {"target": "kidney_with:cyst"}]), encoding="utf-8")
    item = ListedVolumes(listed, num_slices=10, slice_size=48)[0]
    assert item.targets == ("kidney_with:cyst",) and "<think>The kidney, best seen on" in item.completions[0]


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
    with pytest.raises(VolumeError) as caught:
        ListedVolumes(listed, num_slices=10, slice_size=48)[0]
    assert caught.value.reason == "not_labels"


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


def same(first, second):
    return (
        torch.equal(first.slices, second.slices)
        and torch.equal(first.masks, second.masks)
        and (first.texts, first.completions) == (second.texts, second.completions)
    )


def test_kept_slices_are_those_that_are_read(listed, tmp_path, monkeypatch):
    settings = {"num_slices": 10, "slice_size": 48}
    fresh = ListedVolumes(listed, **settings)[0]
    cached = ListedVolumes(listed, **settings, cache_dir=tmp_path / "cache")
    assert same(cached[0], fresh)
    monkeypatch.setattr(listed_volumes, "shown_volume", None)
    assert same(cached[0], fresh)


def test_kept_slices_follow_the_files_and_the_settings(listed, tmp_path):
    def read(**changes):
        settings = {"num_slices": 10, "slice_size": 48, "cache_dir": tmp_path / "cache"}
        return ListedVolumes(listed, **settings | changes)[0]

    whole = read()
    assert read(num_slices=4).slices.shape == (4, 48, 48) and read(slice_size=32).slices.shape == (10, 32, 32)
    assert not torch.equal(read(window=[0, 100]).slices, whole.slices)
    read(crop_to_body=False)  # the cube is too small for a body, so nothing is cropped
    assert len(list((tmp_path / "cache").iterdir())) == 5
    path = listed.parent / "label.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), path)
    assert whole.masks.any() and not read().masks.any()


def test_workers_share_what_is_kept(listed, tmp_path):
    volumes = ListedVolumes(listed, 10, 48, queries_per_volume=1, cache_dir=tmp_path / "cache")
    loader = torch.utils.data.DataLoader(volumes, num_workers=2, collate_fn=list, prefetch_factor=1)
    assert all(same(item, volumes[n]) for n, (item,) in enumerate(loader))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_targets_between_the_shown_slices_and_absent_ones_are_asked_in_their_share(listed):
    """Label 2 is on slice 4 alone: the slices 0, 3, 6, 9 show none of it. Label 9 is nowhere."""
    common = {"image": "ct.nii.gz", "label": "label.nii.gz"}
    entries = [common | {"query": f"seen {n}", "label_values": [1]} for n in range(6)]
    entries += [common | {"query": f"between {n}", "label_values": [2]} for n in range(3)]
    entries += [common | {"query": f"absent {n}", "label_values": [9]} for n in range(3)]
    listed.write_text(json.dumps(entries))

    def texts(num_slices, fraction, seed=0, count=4):
        volumes = ListedVolumes(listed, num_slices, 48, count, seed=seed, absent_fraction=fraction)
        items = [volumes[n] for n in range(len(volumes))]
        for text, mask, completion in (row for i in items for row in zip(i.texts, i.masks, i.completions, strict=True)):
            shown = text.startswith("seen") or (text.startswith("between") and num_slices == 10)
            assert mask.any() == shown == bool(parse_completion(completion, num_slices).boxes_xyxy_1000)
        return [item.texts for item in items]

    assert [len(asked) for asked in texts(4, None)] == [4, 4, 4]
    # 6 seen, 0.25 of 8 are not: eight questions in two items; the third repeats one.
    for seed in range(3):
        first, second, third = texts(4, 0.25, seed)
        asked = [text.split()[0] for text in first + second]
        assert asked.count("seen") == 6 and len(asked) == 8 and third[0] in first + second
    # All ten slices show label 2: nine are seen, three of twelve are not.
    assert sum(text.startswith("absent") for asked in texts(10, 0.25) for text in asked) == 3
    assert texts(4, 0.25, seed=1) == texts(4, 0.25, seed=1)
    assert all(text.startswith("seen") for asked in texts(4, 0.0) for text in asked)


def test_no_share_is_refused(listed):
    with pytest.raises(ValueError, match="absent_fraction is 1.0"):
        ListedVolumes(listed, 10, 48, absent_fraction=1.0)


def test_a_dicom_series_is_the_volume_of_its_nifti(tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    values, affine = files.ct_values(), files.affine_of()
    files.write_series(tmp_path / "series", values, affine)
    files.write_nifti(tmp_path / "ct.nii.gz", values, affine)
    files.write_nifti(tmp_path / "label.nii.gz", (values > 500).astype(np.uint8), affine)
    items = []
    for image in ("series", "ct.nii.gz"):
        entry = {"image": image, "label": "label.nii.gz", "query": "bone"}
        (tmp_path / "train.json").write_text(json.dumps([entry]))
        items.append(ListedVolumes(tmp_path / "train.json", num_slices=4, slice_size=16)[0])
    assert torch.equal(items[0].slices, items[1].slices) and torch.equal(items[0].masks, items[1].masks)
    assert items[0].completions == items[1].completions


# Single images ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """An image of 20 rows and 40 columns, its mask, and its marks, which are not those of the mask."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, 10:30] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    marks = {"bbox": [240, 240, 760, 760], "points_1": [400, 500], "points_2": [600, 500]}
    entry = {"image": "a.png", "label": "a_mask.png", "query": "the mole", "target": "mole", "marks": marks}
    path = tmp_path / "images.json"
    path.write_text(json.dumps([entry, entry | {"query": "the spot"}]))
    return path


def test_single_images_teach_their_marks(pictures):
    volumes = ListedVolumes(pictures, 1, 32, intensity="full_range", answer_form="image")
    item = volumes[0]
    assert item.slices.shape == (1, 3, 32, 32) and item.masks.shape == (2, 1, 32, 32)
    anchor = parse_completion(item.completions[0], 1, "image")
    assert anchor.boxes_xyxy_1000 == ((240, 240, 760, 760),) and anchor.points_xy_1000 == (((400, 500), (600, 500)),)


def test_without_marks_those_of_the_mask_are_taught(pictures):
    entries = [{key: value for key, value in e.items() if key != "marks"} for e in json.loads(pictures.read_text())]
    pictures.write_text(json.dumps(entries))
    item = ListedVolumes(pictures, 1, 32, intensity="full_range", answer_form="image")[0]
    # Columns 10..30 of 40 and rows 5..15 of 20 are a quarter to three quarters.
    assert parse_completion(item.completions[0], 1, "image").boxes_xyxy_1000 == ((250, 250, 750, 750),)


def test_a_target_that_this_form_cannot_state_is_an_error(pictures, tmp_path):
    entries = [e | {"label_values": [7]} for e in json.loads(pictures.read_text())]
    for entry in entries:
        del entry["marks"]
    pictures.write_text(json.dumps(entries))
    volumes = ListedVolumes(pictures, 1, 32, intensity="full_range", answer_form="image")
    with pytest.raises(ValueError, match="case 'a' marks nothing as it is shown, .* leave it out"):
        volumes[0]
    with pytest.raises(ValueError, match='num_slices is 4; answers of the form "image" are about 1'):
        ListedVolumes(pictures, 4, 32, intensity="full_range", answer_form="image")

"""What training reads: phantoms on the fly, and volumes on disk."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion, split_think
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.datasets.listed_volumes import ListedVolumes
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.queries.bank import query_bank
from medvol_r1.queries.reasoning import name_of_mask, rule_made_think
from medvol_r1.targets import components_to_boxes
from medvol_r1.volume.query_text import QueryError


def phantoms(**changes):
    options = {"split": "train", "num_volumes": 3, "num_slices": 12, "slice_size": 64, "queries_per_volume": 6}
    return PhantomVolumes(**(options | changes))


def test_an_item_is_the_same_every_time_and_another_split_differs():
    first, again, other = phantoms()[1], phantoms()[1], phantoms(split="validation")[1]
    assert torch.equal(first.slices, again.slices) and first.texts == again.texts
    assert first.completions == again.completions
    assert first.slices.shape != other.slices.shape or not torch.equal(first.slices, other.slices)


def test_items_are_windowed_slices_with_answers_that_fit_their_masks():
    for item in (phantoms()[index] for index in range(3)):
        assert item.slices.shape == (12, 64, 64) and item.slices.dtype == torch.float32
        assert 0 <= item.slices.min() < 0.1 and 0.9 < item.slices.max() <= 1
        for completion, mask in zip(item.completions, item.masks.numpy(), strict=True):
            anchor = parse_completion(completion, num_slices=12)
            assert isinstance(anchor, EvidenceAnchor) and split_think(completion)
            assert anchor.is_absent == (not mask.any())
            if mask.any():
                area = mask.sum(axis=(1, 2))
                assert area[anchor.key_index] >= np.sort(area)[-4]  # one of the Top-4
                assert len(anchor.boxes_xyxy_1000) == len(components_to_boxes(mask[anchor.key_index]))


def test_subsets_take_turns_and_wording_can_differ_from_the_seeds():
    assert [phantoms()[index].case.split("_")[0] for index in range(3)] == ["organs", "whole", "renal"]
    seen, unseen = phantoms(split="test")[0], phantoms(split="test", paraphrases="train")[0]
    assert torch.equal(seen.slices, unseen.slices) and seen.texts != unseen.texts


def test_sets_that_start_at_different_seeds_are_windows_on_one_row_of_phantoms():
    row, later = phantoms(subsets=["organs"], num_volumes=4), phantoms(subsets=["organs"], num_volumes=2, first=2)
    assert [item.case for item in map(row.__getitem__, range(4))] == [f"organs_{seed}" for seed in range(4)]
    assert [later[index].texts for index in range(2)] == [row[index].texts for index in (2, 3)]
    assert len(later) == 2


def test_only_the_wanted_types_are_asked():
    names = {query.text for query in query_bank("organs", "train", ["A"])}
    for types, all_named in ((("A",), True), (tuple("BCDEF"), False)):
        data = phantoms(subsets=["organs"], query_types=types)
        asked = [text in names for index in range(3) for text in data[index].texts]
        assert asked == [all_named] * 18
    with pytest.raises(ValueError, match="Unknown query types"):
        phantoms(query_types=("Z",))[0]


def test_answers_without_reasoning_are_the_same_answers():
    shown, empty = phantoms()[0], phantoms(think=False)[0]
    for long, short in zip(shown.completions, empty.completions, strict=True):
        assert short.startswith("<think></think>") and split_think(long)
        assert parse_completion(long, 12) == parse_completion(short, 12)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split": "holdout"}, "holdout.*legal are train, validation, test"),
        ({"subsets": ["organs", "legs"]}, "legal are organs, whole_body, renal"),
        ({"num_volumes": 0}, "0 volumes"),
        ({"first": -1}, "3 volumes from seed number -1 on"),
        ({"split": "test", "first": 9_998}, "10001 volumes"),
        ({"split": "test", "num_volumes": 10**9}, "1000000000 volumes"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        phantoms(**changes)


NAMES = {2: "right kidney", 3: "left kidney", 11: "tumor"}


@pytest.mark.parametrize(
    "values, asked_for, expected",
    [
        ([2], "kidney_with:cyst", "right kidney"),
        ([2, 3], "kidneys", "kidneys"),
        ([3, 11], "anything", "left kidney and tumor"),
        ([], "spleen", "spleen"),
        ([], "kidney_without:lesion", "kidney"),
        ([], "lesion_in:left:tumor", "tumor"),
    ],
)
def test_name_of_mask(values, asked_for, expected):
    label = np.array([0, 2, 3, 11])
    assert name_of_mask(np.isin(label, values), label, NAMES, asked_for) == expected


def test_rule_made_think():
    boxes = ((0, 0, 1, 1), (2, 2, 3, 3))
    assert rule_made_think("liver", EvidenceAnchor(6, boxes[:1])) == "The liver, best seen on slice 7, in 1 part."
    assert rule_made_think("kidneys", EvidenceAnchor(0, boxes)) == "The kidneys, best seen on slice 1, in 2 parts."
    assert rule_made_think("spleen", EvidenceAnchor(0, ())) == "The spleen is not in these slices."


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

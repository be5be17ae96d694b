import numpy as np
import pytest
import torch
from medvol_r1.anchor import EvidenceAnchor, parse_completion, split_think
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.queries.bank import query_bank
from medvol_r1.targets import components_to_boxes


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


def test_answers_with_points_are_those_without_and_two_points_a_box():
    plain, pointed = phantoms()[0], phantoms(answer_form="boxes_and_points")[0]
    assert pointed.texts == plain.texts
    for with_points, without in zip(pointed.completions, plain.completions, strict=True):
        anchor, boxes = parse_completion(with_points, 12, "boxes_and_points"), parse_completion(without, 12)
        assert (anchor.key_index, anchor.boxes_xyxy_1000) == (boxes.key_index, boxes.boxes_xyxy_1000)
        assert [len(points) for points in anchor.points_xy_1000] == [2] * len(boxes.boxes_xyxy_1000)
    with pytest.raises(ValueError, match="answer_form is 'image'; legal for volumes are boxes, boxes_and_points"):
        phantoms(answer_form="image")


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

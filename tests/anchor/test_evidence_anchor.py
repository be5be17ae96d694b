import pytest
from medvol_r1.anchor import EvidenceAnchor

BOX = (1, 2, 30, 40)


@pytest.mark.parametrize(
    "key_index, boxes_1000, message",
    [
        (-1, (), "key_index"),
        (True, (), "key_index"),
        (0, ((0, 0, 0, 5),), "0, 0, 0, 5"),
        (0, ((0, 0, 5, 1001),), "1001"),
        (0, ((0.0, 0, 5, 5),), "0.0"),
        (0, ((0, 0, 1, 1),) * 17, "at most 16"),
    ],
)
def test_an_anchor_is_valid_by_construction(key_index, boxes_1000, message):
    with pytest.raises(ValueError, match=message):
        EvidenceAnchor(key_index, boxes_1000)


@pytest.mark.parametrize(
    "anchor_boxes, points, message",
    [
        ((BOX,), (((5, 6),), ((5, 6),)), "2 lists of points for 1 boxes"),
        ((), ((),), "an object without a box and without points"),
        ((BOX,), (((5, 1001),),), "1001"),
        ((BOX,), (((5, 6.0),),), "6.0"),
        ((), (((5, 6),) * 17,), "at most 16"),
    ],
)
def test_an_anchor_with_points_is_valid_by_construction(anchor_boxes, points, message):
    with pytest.raises(ValueError, match=message):
        EvidenceAnchor(0, anchor_boxes, points)


def test_no_points_are_said_in_one_way():
    assert EvidenceAnchor(2, (BOX, BOX), ((), ())) == EvidenceAnchor(2, (BOX, BOX))
    assert EvidenceAnchor(2, ()).is_absent and not EvidenceAnchor(2, (), (((5, 6),),)).is_absent

import numpy as np
import pytest
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.queries.reasoning import name_of_mask, plain_name, rule_made_think

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


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("left kidney", "left kidney"),
        ("kidney_with:cyst", "kidney"),
        ("largest:lesion", "lesion"),
        ("largest_in:right:cyst", "cyst"),
        ("lesion_opposite:tumor:cyst", "tumor"),
        ("L1: vertebra", "L1: vertebra"),
    ],
)
def test_plain_name(target, name):
    assert plain_name(target) == name

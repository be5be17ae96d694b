from itertools import permutations, product

import numpy as np
import pytest
from medvol_r1.layouts import abdomenct_1k, ct_org, kits23
from medvol_r1.preparation.anatomical_axes import anatomical_axes
from medvol_r1.preparation.case_failures import CaseError
from miniature_data_sets import ABDOMENCT_1K, CT_ORG, KITS23, volume, z_scores

ALL_AXES = ["".join(codes) for order in permutations(("LR", "PA", "SI")) for codes in product(*order)]
SETS = {
    "organs": (ABDOMENCT_1K, abdomenct_1k.NAMES),
    "whole_body": (CT_ORG, ct_org.NAMES),
    "renal": (KITS23, kits23.NAMES),
}


def told(seed, subset, axes, released=None):
    """What is found for a phantom that is stored along these axes."""
    values, names = SETS[subset]
    image, label, _ = volume(seed, subset, values, axes=axes)
    return anatomical_axes(z_scores(image), label, names, released)


@pytest.mark.parametrize("subset", ["organs", "whole_body"])
def test_organs_tell_the_axes_whatever_they_are(subset):
    """Never wrongly; of one phantom in fifty not at all."""
    assert len(set(ALL_AXES)) == 48
    found = {}
    for seed, axes in enumerate(ALL_AXES):
        try:
            found[axes] = told(seed, subset, axes)
        except CaseError:
            continue
    assert len(found) >= 47 and all(found[axes] == axes for axes in found)


def test_kidneys_alone_tell_no_left_and_right():
    with pytest.raises(CaseError, match=r"do not tell it \(P of S, L, P\).*give `axes`") as caught:
        told(0, "renal", "IPL")
    assert caught.value.reason == "unknown_axes"


def test_what_was_released_holds_unless_the_volume_speaks_against_it():
    assert told(0, "renal", "IPL", released="IPL") == "IPL"
    # Of a slice axis elsewhere: 16 slices of 32 x 32.
    with pytest.raises(CaseError, match="speak against IPL, as released"):
        told(0, "renal", "LPI", released="IPL")
    # Kidneys in front of the body's center.
    with pytest.raises(CaseError, match="speak against IPL, as released"):
        told(0, "renal", "IAL", released="IPL")
    # More organs tell what is right.
    assert told(0, "organs", "PRS", released="IPL") == "PRS"


def test_a_mirrored_volume_is_not_taken_for_what_was_released():
    assert told(4, "organs", "IPR", released="IPL") == "IPR"


def test_a_cube_without_shape_to_go_by():
    image, label, _ = volume(0, "organs", ABDOMENCT_1K)
    cube = [np.repeat(v, 2, axis=2) for v in (z_scores(image), label)]
    assert anatomical_axes(*cube, abdomenct_1k.NAMES, None) == "LPS"


def test_organs_in_one_place_tell_nothing():
    image, label, _ = volume(0, "organs", ABDOMENCT_1K)
    one = np.where(label == 1, np.arange(label.size).reshape(label.shape) % 4 + 1, 0)
    with pytest.raises(CaseError, match="its organs do not tell it"):
        anatomical_axes(z_scores(image), one, abdomenct_1k.NAMES, None)

"""Facts in their three forms: each says the same, so that a form held out of training has no new word."""

import pytest
from medvol_r1.queries import facts
from told_facts import check_facts

NAMES = sorted(name for name in vars(facts) if name.isupper())


@pytest.mark.parametrize("name", NAMES)
def test_facts(name):
    check_facts(getattr(facts, name))


def test_all_targets_of_phantoms_are_here():
    assert NAMES == ["BLADDER", "BONE", "BRAIN", "CYST", "KIDNEY", "LIVER", "LUNG", "PANCREAS", "SPLEEN", "TUMOR"]

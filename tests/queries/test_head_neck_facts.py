"""What is said of the head and neck, against what is said of the trunk."""

import pytest
from medvol_r1.queries import facts, head_neck_facts
from told_facts import check_facts

NAMES = sorted(name for name in vars(head_neck_facts) if name.isupper())


@pytest.mark.parametrize("name", NAMES)
def test_facts(name):
    check_facts(getattr(head_neck_facts, name))


def test_the_organs_of_openkbp_are_here():
    assert NAMES == ["BRAINSTEM", "ESOPHAGUS", "LARYNX", "MANDIBLE", "PAROTID", "SPINAL_CORD"]


def test_no_fact_is_told_of_two_targets():
    tables = [vars(facts)[n] for n in vars(facts) if n.isupper()] + [vars(head_neck_facts)[n] for n in NAMES]
    told = [fact.bare for by_type in tables for group in by_type.values() for fact in group]
    assert len(set(told)) == len(told)

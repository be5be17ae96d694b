"""Lesions of real kidneys: each sentence says which organ is meant."""

import pytest
from medvol_r1.queries.renal_facts import KIDNEY_CYST, KIDNEY_TUMOR
from medvol_r1.queries.wording import words

FACTS = [fact for table in (KIDNEY_TUMOR, KIDNEY_CYST) for facts in table.values() for fact in facts]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.bare)
def test_the_kidney_is_told(fact):
    assert all("kidney" in words(form) for form in fact)


def test_no_two_facts_are_one():
    assert len({form for fact in FACTS for form in fact}) == 3 * len(FACTS)

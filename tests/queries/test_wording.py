"""Paraphrase groups and their splits."""

from collections import Counter

import pytest
from medvol_r1.queries.concepts import CONCEPTS
from medvol_r1.queries.wording import SPLITS, check_split, content_words, paraphrase_groups, split_of, words

CONCEPT = {concept.target: concept for concepts in CONCEPTS.values() for concept in concepts}


def test_of_six_groups_four_are_for_training():
    assert Counter(map(split_of, range(600))) == {"train": 400, "validation": 100, "test": 100}


@pytest.mark.parametrize(
    ("target", "kind"), [("liver", "A"), ("liver", "B"), ("right kidney", "D"), ("largest:cyst", "G")]
)
def test_a_group_is_in_one_split_and_its_texts_in_one_group(target, kind):
    groups = [group for split in SPLITS for group in paraphrase_groups(CONCEPT[target], kind, split)]
    assert len({group.key for group in groups}) == len(groups) >= 12
    texts = [text for group in groups for text in group.texts()]
    assert len(set(texts)) == len(texts)


def test_words_and_content_words():
    assert words("The bean-shaped organ's LEFT half?") == {"the", "bean", "shaped", "organ's", "left", "half"}
    assert content_words("Please show the left kidney in this scan.") == {"left", "kidney"}


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="Unknown split 'val'; legal are train, validation, test"):
        check_split("val")

"""What may be asked: of phantoms, and of real label maps."""

import pytest
from label_blocks import LEFT, RIGHT, cube, volume
from medvol_r1.queries.concepts import CONCEPTS, REAL_CONCEPTS
from medvol_r1.queries.lesions import describe
from medvol_r1.queries.phrases import COUPLED_FRAMES, SUBJECTS
from medvol_r1.queries.resolvers import Unresolvable, select

ISSUE = {
    "liver", "spleen", "pancreas", "kidneys", "left kidney", "right kidney", "lungs", "bladder", "bone", "brain",
    "kidney tumor", "kidney cyst",
}  # fmt: skip


@pytest.fixture(scope="module")
def kidneys_alone():
    return describe(volume(cube(RIGHT, 2, 4, 2, 8), cube(LEFT, 28, 4, 2, 8)))


def test_the_targets_of_the_data_sets_are_there():
    assert ISSUE <= {concept.target for concept in REAL_CONCEPTS}
    assert len({concept.target for concept in REAL_CONCEPTS}) == len(REAL_CONCEPTS)


@pytest.mark.parametrize("concepts", [*CONCEPTS.values(), REAL_CONCEPTS], ids=[*CONCEPTS, "real"])
def test_each_has_words_and_a_resolver_that_is_known(concepts, kidneys_alone):
    for concept in concepts:
        assert concept.heads if concept.types == "G" else concept.subject in SUBJECTS
        try:
            select(concept.resolver, kidneys_alone)
        except Unresolvable:
            pass  # a resolver that is not known is another ValueError


def test_every_frame_is_asked_of_real_label_maps():
    assert {c.resolver.split(":")[0] for c in REAL_CONCEPTS if c.types == "G"} == set(COUPLED_FRAMES)


def test_a_phantom_group_is_the_same_group_of_a_real_target():
    phantom = {concept.target: concept.heads for concept in CONCEPTS["renal"]}
    for concept in REAL_CONCEPTS:
        known = phantom.get(concept.target, ())
        assert concept.heads[: len(known)] == known

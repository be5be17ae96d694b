"""What holds of all that the query bank says of a target."""

import string

from medvol_r1.queries.facts import Fact
from medvol_r1.queries.wording import content_words


def check_facts(by_type: dict[str, tuple[Fact, ...]]) -> None:
    """Asserts it of facts by the type of question."""
    assert list(by_type) == list("BCDEF")
    assert sorted({len(told) for told in by_type.values()}) == [2, 3]
    told = [fact for group in by_type.values() for fact in group]
    assert len({fact.finite for fact in told}) == len(told), "a fact is told once"
    for fact in told:
        # Only the verb of the finite form agrees with its noun.
        assert {slot for _, slot, _, _ in string.Formatter().parse(fact.finite) if slot} <= {"s", "be"}
        assert "{" not in fact.participle + fact.bare
        assert len({fact.finite, fact.participle, fact.bare}) >= 2
        for form in fact:
            assert form == form.strip() and content_words(form.format(s="s", be="is"))

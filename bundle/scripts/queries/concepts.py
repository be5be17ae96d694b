"""What may be asked of each set of label maps, before it has words."""

from __future__ import annotations

from typing import NamedTuple

from .phrases import COUPLED_FRAMES, COUPLED_HEADS, MORE_HEADS


class Concept(NamedTuple):
    """Something to ask for, before it has words."""

    target: str
    laterality: str
    resolver: str
    subject: str
    """key of `phrases.SUBJECTS`, or the noun of a coupled target"""
    heads: tuple[str, ...] = ()
    """what a coupled target is called; the others have the heads of their subject"""

    @property
    def types(self) -> str:
        """In which types it has words."""
        return "G" if self.resolver.partition(":")[0] in COUPLED_FRAMES else "ABCDEF"


def _whole(target: str, labels: str, subject: str, laterality: str = "none") -> Concept:
    return Concept(target, laterality, f"labels:{labels}", subject)


def _coupled(resolver: str, more_heads: dict[str, tuple[str, ...]] | None = None) -> Concept:
    form, *arguments = resolver.split(":")
    in_a_kidney = form in ("lesion_in", "largest_in")
    noun = "kidney" if form.startswith("kidney") else arguments[-1] if in_a_kidney else arguments[0]
    heads = COUPLED_HEADS[noun] + (more_heads or {}).get(noun, ())
    return Concept(resolver, arguments[0] if in_a_kidney else "none", resolver, noun, heads)


_KIDNEYS = (
    _whole("kidneys", "2,3", "kidneys", "both"),
    _whole("right kidney", "2", "kidney", "right"),
    _whole("left kidney", "3", "kidney", "left"),
)
_COUPLED = tuple(
    _coupled(resolver)
    for resolver in (
        *(f"{form}:{kind}" for form in ("kidney_with", "kidney_without") for kind in ("tumor", "cyst", "lesion")),
        *(f"kidney_with_more:{kind}" for kind in ("cyst", "lesion")),
        *(f"kidney_with_largest:{kind}" for kind in ("tumor", "cyst")),
        *(f"lesion_in:{side}:{kind}" for side in ("right", "left") for kind in ("tumor", "cyst", "lesion")),
        *(f"{form}:{kind}" for form in ("largest", "smallest") for kind in ("tumor", "cyst", "lesion", "kidney")),
        *(f"{form}:{pair}" for form in ("lesion_beside", "lesion_opposite") for pair in ("tumor:cyst", "cyst:tumor")),
    )
)
_ORGANS = (
    _whole("liver", "1", "liver"),
    *_KIDNEYS,
    _whole("spleen", "4", "spleen"),
    _whole("pancreas", "5", "pancreas"),
)
_WHOLE_BODY = (
    _whole("liver", "1", "liver"),
    *_KIDNEYS,
    _whole("bladder", "6", "bladder"),
    _whole("lungs", "7,8", "lungs", "both"),
    _whole("right lung", "7", "lung", "right"),
    _whole("left lung", "8", "lung", "left"),
    _whole("bone", "9", "bone"),
    _whole("brain", "10", "brain"),
)
_HEAD_NECK = (
    _whole("brainstem", "13", "brainstem"),
    _whole("spinal cord", "14", "spinal cord"),
    _whole("right parotid", "15", "parotid", "right"),
    _whole("left parotid", "16", "parotid", "left"),
    _whole("parotids", "15,16", "parotids", "both"),
    _whole("esophagus", "17", "esophagus"),
    _whole("larynx", "18", "larynx"),
    _whole("mandible", "19", "mandible"),
)
CONCEPTS: dict[str, tuple[Concept, ...]] = {
    "organs": _ORGANS,
    "whole_body": _WHOLE_BODY,
    "renal": (*_KIDNEYS, _whole("tumor", "11", "tumor"), _whole("cyst", "12", "cyst"), *_COUPLED),
    "wide": tuple(dict.fromkeys((*_ORGANS, *_WHOLE_BODY))),
    "head_neck": _HEAD_NECK,
}
"""What may be asked of each subset of phantoms; only what the subset labels, so that "absent" means absent. `head_neck`
is no phantom: it holds the organs that are drawn for radiotherapy; their ids follow those of `phantom.scan.LABELS`."""

_MORE_COUPLED = (
    *(f"kidney_with_several:{kind}" for kind in ("tumor", "cyst", "lesion")),
    *(f"largest_in:{side}:{kind}" for side in ("right", "left") for kind in ("tumor", "cyst", "lesion")),
    *(f"{form}:{kind}" for form in ("uppermost", "lowermost") for kind in ("tumor", "cyst", "lesion")),
)
REAL_CONCEPTS: tuple[Concept, ...] = (
    *(concept for concept in CONCEPTS["wide"] if concept.subject != "lung"),
    *_HEAD_NECK,
    _whole("kidney tumor", "11", "kidney tumor"),
    _whole("kidney cyst", "12", "kidney cyst"),
    *(_coupled(resolver, MORE_HEADS) for resolver in (*(c.resolver for c in _COUPLED), *_MORE_COUPLED)),
)
"""What may be asked of a real label map (`real_bank`): the organs of the phantoms and more about lesions. The lungs of
CT-ORG are one label. Apart from `CONCEPTS`, so that what phantoms are asked stays as it is."""

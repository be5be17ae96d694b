"""The words of the query bank: what is said of each target, and the frames around it. Data only; `wording` composes.

Our own sentences, in American spelling, in words that a small model can learn from the bank alone: a fact is told in
three forms, so that a held-out form is made of words that the others teach.
"""

from __future__ import annotations

from typing import NamedTuple

from .facts import BLADDER, BONE, BRAIN, CYST, KIDNEY, LIVER, LUNG, PANCREAS, SPLEEN, TUMOR, Fact
from .head_neck_facts import BRAINSTEM, ESOPHAGUS, LARYNX, MANDIBLE, PAROTID, SPINAL_CORD
from .renal_facts import KIDNEY_CYST, KIDNEY_TUMOR


class Subject(NamedTuple):
    """A target as the bank speaks of it."""

    names: tuple[str, ...]
    """type A"""
    forbidden: tuple[str, ...]
    """the name and its synonyms as whole words: absent from types B to F and from described heads of type G"""
    heads: tuple[str, ...]
    facts: dict[str, tuple[Fact, ...]]
    """by type, B to F"""
    determiner: str = "the"
    plural: bool = False


_ORGAN_HEADS = ("organ", "structure", "body part")
_ORGANS_HEADS = ("organs", "structures", "body parts")

_KIDNEY_NAMES = ("kidney", "kidneys", "renal", "nephric")
_TUMOR_NAMES = ("tumor", "tumors", "neoplasm", "cancer", "carcinoma", "malignancy")
_CYST_NAMES = ("cyst", "cysts", "cystic")
_PAROTID_NAMES = ("parotid", "parotids")
_GLANDS_HEADS = ("glands", "organs", "structures")
_LUNG_NAMES = ("lung", "lungs", "pulmonary")

SUBJECTS: dict[str, Subject] = {
    "liver": Subject(("liver", "hepatic organ"), ("liver", "hepatic"), _ORGAN_HEADS, LIVER),
    "kidney": Subject(("kidney", "renal organ"), _KIDNEY_NAMES, _ORGAN_HEADS, KIDNEY),
    "kidneys": Subject(("kidneys", "renal organs"), _KIDNEY_NAMES, _ORGANS_HEADS, KIDNEY, plural=True),
    "spleen": Subject(("spleen", "splenic organ"), ("spleen", "splenic"), _ORGAN_HEADS, SPLEEN),
    "pancreas": Subject(("pancreas", "pancreatic gland"), ("pancreas", "pancreatic"), ("gland", "organ", "structure"),
                        PANCREAS),
    "bladder": Subject(("bladder", "urinary bladder"), ("bladder", "vesical"), _ORGAN_HEADS, BLADDER),
    "lung": Subject(("lung", "pulmonary organ"), _LUNG_NAMES, _ORGAN_HEADS, LUNG),
    "lungs": Subject(("lungs", "pulmonary organs"), _LUNG_NAMES, _ORGANS_HEADS, LUNG, plural=True),
    "bone": Subject(("bone", "skeleton"), ("bone", "bones", "skeleton", "skeletal", "osseous"),
                    ("tissue", "framework", "material"), BONE),
    "brain": Subject(("brain", "cerebral tissue"), ("brain", "cerebral", "cerebrum"), _ORGAN_HEADS, BRAIN),
    "brainstem": Subject(("brainstem", "brain stem"), ("brainstem", "stem"), _ORGAN_HEADS, BRAINSTEM),
    "spinal cord": Subject(("spinal cord", "spinal medulla"), ("spinal",), _ORGAN_HEADS, SPINAL_CORD),
    "parotid": Subject(("parotid", "parotid gland"), _PAROTID_NAMES, ("gland", "organ", "structure"), PAROTID),
    "parotids": Subject(("parotids", "parotid glands"), _PAROTID_NAMES, _GLANDS_HEADS, PAROTID, plural=True),
    "esophagus": Subject(("esophagus", "esophageal organ"), ("esophagus", "esophageal"), _ORGAN_HEADS, ESOPHAGUS),
    "larynx": Subject(("larynx", "laryngeal organ"), ("larynx", "laryngeal"), _ORGAN_HEADS, LARYNX),
    "mandible": Subject(("mandible", "lower jaw"), ("mandible", "mandibular", "jaw"), _ORGAN_HEADS, MANDIBLE),
    "tumor": Subject(("tumor", "neoplasm"), _TUMOR_NAMES,
                     ("solid growth", "solid lump", "solid lesion"), TUMOR, determiner="any"),
    "cyst": Subject(("cyst", "cystic lesion"), _CYST_NAMES,
                    ("fluid pocket", "watery bubble", "fluid-filled sac"), CYST, determiner="any"),
    "kidney tumor": Subject(("kidney tumor", "renal tumor"), _TUMOR_NAMES,
                            ("solid growth", "solid lump", "solid nodule"), KIDNEY_TUMOR, determiner="any"),
    "kidney cyst": Subject(("kidney cyst", "renal cyst"), _CYST_NAMES,
                           ("fluid pocket", "watery bubble", "fluid-filled sac"), KIDNEY_CYST, determiner="any"),
}  # fmt: skip

NAME_FRAMES = (
    "the {x}", "the whole {x}", "{x}", "all of the {x}", "the entire {x}", "only the {x}", "the {x} of this patient",
    "the patient's {x}",
)  # fmt: skip
"""Type A: a name `{x}`. The order matters to the split: the bare names stay in train."""

FACT_FRAMES = (
    "{the} {head} that {finite}",
    "{the} {head} {bare} that {next_finite}",
    "{the} {head} {participle}",
    "which {head} {finite}?",
    "{the} {head} {bare}",
    "{the} {head} {participle} and {next_participle}",
)
"""Types B to F: a head noun and a fact, alone or joined with the next fact of its type. A `?` ends a whole question."""

SIDE_FRAMES = ("{side} {head}", "{head} on the {side}", "{head} on the patient's {side}")
"""The head noun of a target of one side."""

COUPLED_HEADS: dict[str, tuple[str, ...]] = {
    "kidney": ("kidney", "bean-shaped organ", "urine-making organ"),
    "tumor": ("tumor", "solid growth", "solid lump"),
    "cyst": ("cyst", "fluid-filled sac", "fluid pocket"),
    "lesion": ("lesion", "mass", "suspicious spot"),
}
"""Type G nouns, names first. As in KiTS23, a lesion or mass is a tumor or a cyst."""

MORE_HEADS: dict[str, tuple[str, ...]] = {
    "kidney": ("blood-filtering organ",),
    "tumor": ("solid nodule",),
    "cyst": ("watery bubble",),
    "lesion": ("suspicious finding", "suspicious area"),
}
"""Further nouns for real label maps, behind those above, so that a group has the same name and split in both."""

COUPLED_NAMES: dict[str, tuple[str, ...]] = {
    "kidney": _KIDNEY_NAMES,
    "tumor": SUBJECTS["tumor"].forbidden,
    "cyst": SUBJECTS["cyst"].forbidden,
    "lesion": ("lesion", "lesions", "mass", "masses"),
}

COUPLED_FRAMES: dict[str, tuple[str, ...]] = {
    "kidney_with": (
        "the {a} that contains a {b}", "the {a} with a {b}", "the {a} where a {b} sits", "which {a} contains a {b}?",
        "the {a} holding a {b}", "the {a} that has a {b}",
    ),
    "kidney_without": (
        "the {a} without a {b}", "the {a} that lacks a {b}", "the {a} that does not contain a {b}",
        "which {a} has no {b}?", "the {a} where no {b} sits", "the {a} free of any {b}",
    ),
    "kidney_with_more": (
        "the {a} with more {bs}", "the {a} that contains more {bs}", "the {a} with the greater number of {bs}",
        "which {a} has more {bs}?", "the {a} where most {bs} sit", "the {a} holding most {bs}",
    ),
    "kidney_with_largest": (
        "the {a} with the larger {b}", "the {a} that contains the largest {b}", "the {a} where the biggest {b} sits",
        "which {a} contains the larger {b}?", "the {a} holding the largest {b}", "the {a} that has the biggest {b}",
    ),
    "lesion_in": (
        "the {a} of the {side} {b}", "the {a} in the {side} {b}", "the {a} that sits in the {side} {b}",
        "which {a} belongs to the {side} {b}?", "the {a} found in the {side} {b}", "the {a} on the {side} {b}",
    ),
    "largest": (
        "the larger {a}", "the largest {a}", "the {a} with the greater volume", "which {a} is larger?",
        "the biggest {a}", "the {a} of greater size",
    ),
    "smallest": (
        "the smaller {a}", "the smallest {a}", "the {a} with the lesser volume", "which {a} is smaller?",
        "the tiniest {a}", "the {a} of lesser size",
    ),
    "lesion_beside": (
        "the {a} in the {b} with a {c}", "the {a} of the {b} that contains a {c}", "the {a} in the same {b} as a {c}",
        "which {a} shares the same {b} with a {c}?", "the {a} of the {b} holding a {c}",
        "the {a} that shares its {b} with a {c}",
    ),
    "lesion_opposite": (
        "the {a} in the {b} without a {c}", "the {a} of the {b} that lacks a {c}", "the {a} in the {b} free of any {c}",
        "which {a} sits in the {b} without a {c}?", "the {a} of the {b} that has no {c}",
        "the {a} in the {b} where no {c} sits",
    ),
    "kidney_with_several": (
        "the {a} with several {bs}", "the {a} that contains several {bs}", "the {a} where several {bs} sit",
        "which {a} has several {bs}?", "the {a} holding several {bs}", "the {a} that bears several {bs}",
    ),
    "largest_in": (
        "the largest {a} of the {side} {b}", "the biggest {a} in the {side} {b}",
        "the {a} that is the largest in the {side} {b}", "which {a} is the largest of the {side} {b}?",
        "the {side} {b}'s largest {a}", "the {a} of the greatest volume in the {side} {b}",
    ),
    "uppermost": (
        "the uppermost {a}", "the {a} nearest to the head", "the {a} that sits highest", "which {a} sits highest?",
        "the highest {a}", "the {a} above all others",
    ),
    "lowermost": (
        "the lowermost {a}", "the {a} nearest to the feet", "the {a} that sits lowest", "which {a} sits lowest?",
        "the lowest {a}", "the {a} below all others",
    ),
}  # fmt: skip
"""Type G by resolver: `{a}` the target's noun, `{b}` (several: `{bs}`) and `{c}` the nouns it is coupled with."""

BARE_CARRIER = "{x}"
OPENERS = ("{verb} {x}{tail}", "{Verb} {x}{tail}.", "Please {verb} {x}{tail}.", "Can you {verb} {x}{tail}?")
VERBS = ("show", "segment", "outline", "find")
TAILS = ("", " in this scan")
QUESTION_CARRIERS = {
    "train": ("where {be} {x}?", "Where {be} {x}?"),
    "validation": ("where {be} {x} in this scan?",),
    "test": ("Where {be} {x} in this scan?",),
}

STOP_WORDS = frozenset(
    "a about after again all an and any are as at be being by can ct does entire find for from has have having in into "
    "is it its like most no not of on only or out outline patient patient's please scan segment show that the this "
    "to top toward until when where which whole with without you".split()
)
"""Words of carriers and grammar: they do not say which target is meant."""

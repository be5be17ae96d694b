"""What is said of tumors and cysts of the kidneys in real CT, as in `facts`: the place is told too. Data only.

A phantom has lesions in its kidneys alone; a patient may have others that nobody drew, so each sentence says, or lets
one conclude, that the kidney's are meant.
"""

from __future__ import annotations

from .facts import Fact

KIDNEY_TUMOR = {
    "B": (
        Fact("is made of abnormal kidney cells", "made of abnormal kidney cells", "of abnormal kidney cells"),
        Fact("counts as new abnormal tissue of a kidney", "counting as new abnormal tissue of a kidney",
             "of new abnormal tissue in a kidney"),
    ),
    "C": (
        Fact("grows without control in a kidney", "growing without control in a kidney",
             "with growth out of control in a kidney"),
        Fact("spreads from a kidney to other organs", "spreading from a kidney to other organs",
             "with spread from a kidney to other organs"),
        Fact("replaces normal kidney tissue", "replacing normal kidney tissue", "in place of normal kidney tissue"),
    ),
    "D": (
        Fact("bulges from the kidney", "bulging from the kidney", "in a bulge of the kidney"),
        Fact("pushes normal kidney tissue aside", "pushing normal kidney tissue aside",
             "with normal kidney tissue pushed aside"),
    ),
    "E": (
        Fact("enhances unevenly in a kidney", "enhancing unevenly in a kidney", "with uneven enhancement in a kidney"),
        Fact("looks irregular against bright kidney tissue", "looking irregular against bright kidney tissue",
             "with an irregular look against bright kidney tissue"),
    ),
    "F": (
        Fact("is staged before a kidney is removed", "staged before a kidney is removed",
             "for staging before a kidney is removed"),
        Fact("is sampled by biopsy of a kidney", "sampled by biopsy of a kidney", "for biopsy of a kidney"),
        Fact("is cut out when a kidney is spared", "cut out when a kidney is spared",
             "to be cut out when a kidney is spared"),
    ),
}  # fmt: skip

KIDNEY_CYST = {
    "B": (
        Fact("is made of fluid in a thin wall of a kidney", "made of fluid in a thin wall of a kidney",
             "of fluid in a thin wall of a kidney"),
        Fact("counts as simple and benign in a kidney", "counting as simple and benign in a kidney",
             "of the simple and benign kind in a kidney"),
    ),
    "C": (
        Fact("holds clear water in a kidney", "holding clear water in a kidney", "with clear water in a kidney"),
        Fact("collects fluid slowly in a kidney", "collecting fluid slowly in a kidney",
             "where fluid slowly collects in a kidney"),
        Fact("stays full of water in an aging kidney", "staying full of water in an aging kidney",
             "full of water in an aging kidney"),
    ),
    "D": (
        Fact("lies at the edge of the kidney", "lying at the edge of the kidney", "at the edge of the kidney"),
        Fact("hangs from the kidney like a drop", "hanging from the kidney like a drop",
             "on the kidney like a drop"),
    ),
    "E": (
        Fact("looks dark and round in a bright kidney", "looking dark and round in a bright kidney",
             "with a dark and round look in a bright kidney"),
        Fact("stays dark when the kidney enhances", "staying dark when the kidney enhances",
             "without enhancement when the kidney enhances"),
    ),
    "F": (
        Fact("is usually harmless to the kidney", "usually harmless to the kidney",
             "of the kind harmless to the kidney"),
        Fact("needs no treatment of the kidney", "needing no treatment of the kidney",
             "in no need of treatment of the kidney"),
        Fact("is only followed in later scans of the kidney", "only followed in later scans of the kidney",
             "to be followed in later scans of the kidney"),
    ),
}  # fmt: skip

"""The words of the query bank: what is said of each target, and the frames around it. Data only; `queries` composes.

Our own sentences, in American spelling, in words that a small model can learn from the bank alone: a fact is told in
three forms, so that a held-out form is made of words that the others teach.
"""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One thing to say of a target, in three forms that follow a head noun ("the organ ...").

    `{s}` and `{be}` become "s" and "is" for one, "" and "are" for several.
    """

    finite: str
    """behind "that": "makes bile" """
    participle: str
    """right behind the noun: "making bile" """
    bare: str
    """a phrase of preposition or place: "where bile is made" """


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

_LIVER = {
    "B": (
        Fact("is the largest solid one in the abdomen", "being the largest solid one in the abdomen",
             "of the largest solid size in the abdomen"),
        Fact("weighs about three pounds", "weighing about three pounds", "with a weight of about three pounds"),
    ),
    "C": (
        Fact("makes bile", "making bile", "where bile is made"),
        Fact("clears toxins from the blood", "clearing toxins from the blood",
             "where toxins are cleared from the blood"),
        Fact("stores sugar as glycogen", "storing sugar as glycogen", "where sugar is stored as glycogen"),
    ),
    "D": (
        Fact("lies under the right ribs", "lying under the right ribs", "under the right ribs"),
        Fact("sits next to the gallbladder", "sitting next to the gallbladder", "next to the gallbladder"),
        Fact("fills the right upper abdomen", "filling the right upper abdomen", "in the right upper abdomen"),
    ),
    "E": (
        Fact("looks large and evenly gray", "looking large and evenly gray", "with a large and evenly gray look"),
        Fact("appears as the broadest gray wedge", "appearing as the broadest gray wedge",
             "with the broadest gray wedge"),
    ),
    "F": (
        Fact("is scarred by cirrhosis", "scarred by cirrhosis", "with scars of cirrhosis"),
        Fact("is checked for jaundice", "checked for jaundice", "to check for jaundice"),
        Fact("turns fatty from alcohol", "turned fatty by alcohol", "with fat from alcohol"),
    ),
}  # fmt: skip

_KIDNEY = {
    "B": (
        Fact("{be} shaped like a bean", "shaped like a bean", "with the shape of a bean"),
        Fact("{be} built of a cortex and a medulla", "built of a cortex and a medulla", "of cortex and medulla"),
    ),
    "C": (
        Fact("make{s} urine", "making urine", "where urine is made"),
        Fact("filter{s} waste from the blood", "filtering waste from the blood",
             "where waste is filtered from the blood"),
        Fact("balance{s} salt and water", "balancing salt and water", "for the balance of salt and water"),
    ),
    "D": (
        Fact("lie{s} behind the bowel near the spine", "lying behind the bowel near the spine",
             "behind the bowel near the spine"),
        Fact("sit{s} in the flank", "sitting in the flank", "in the flank"),
        Fact("drain{s} into a ureter", "draining into a ureter", "at the top of a ureter"),
    ),
    "E": (
        Fact("look{s} like a bright bean beside the spine", "looking like a bright bean beside the spine",
             "with a bright bean look beside the spine"),
        Fact("enhance{s} brightly in the flank fat", "enhancing brightly in the flank fat",
             "with bright enhancement in the flank fat"),
    ),
    "F": (
        Fact("fail{s} when dialysis is needed", "failing when dialysis is needed",
             "with a failure that needs dialysis"),
        Fact("{be} blocked by a ureter stone", "blocked by a ureter stone", "with a ureter stone"),
        Fact("{be} transplanted after dialysis", "transplanted after dialysis", "for a transplant after dialysis"),
    ),
}  # fmt: skip

_SPLEEN = {
    "B": (
        Fact("is the largest lymphatic one", "being the largest lymphatic one", "of the largest lymphatic size"),
        Fact("belongs to the immune system", "belonging to the immune system", "of the immune system"),
    ),
    "C": (
        Fact("recycles old red blood cells", "recycling old red blood cells", "where old red blood cells are recycled"),
        Fact("keeps platelets in reserve", "keeping platelets in reserve", "where platelets are kept in reserve"),
        Fact("fights germs in the blood", "fighting germs in the blood", "for the fight against germs in the blood"),
    ),
    "D": (
        Fact("lies under the left ribs", "lying under the left ribs", "under the left ribs"),
        Fact("sits beside the stomach on the left", "sitting beside the stomach on the left",
             "beside the stomach on the left"),
        Fact("fills the left upper abdomen", "filling the left upper abdomen", "in the left upper abdomen"),
    ),
    "E": (
        Fact("looks like a smooth crescent at the left ribs", "looking like a smooth crescent at the left ribs",
             "with a smooth crescent look at the left ribs"),
        Fact("appears as a small wedge near the left ribs", "appearing as a small wedge near the left ribs",
             "with a small wedge near the left ribs"),
    ),
    "F": (
        Fact("ruptures after a blow to the left ribs", "ruptured by a blow to the left ribs",
             "at risk of rupture from a blow to the left ribs"),
        Fact("swells in mononucleosis", "swollen in mononucleosis", "with the swelling of mononucleosis"),
        Fact("is enlarged in malaria", "enlarged in malaria", "with enlargement from malaria"),
    ),
}  # fmt: skip

_PANCREAS = {
    "B": (
        Fact("has a head, a neck and a tail", "having a head, a neck and a tail", "with a head, a neck and a tail"),
        Fact("is a gland of hormones and digestion", "being a gland of hormones and digestion",
             "of hormones and digestion"),
    ),
    "C": (
        Fact("makes insulin", "making insulin", "where insulin is made"),
        Fact("controls blood sugar with insulin", "controlling blood sugar with insulin",
             "for the control of blood sugar with insulin"),
        Fact("sends digestive enzymes to the gut", "sending digestive enzymes to the gut",
             "with digestive enzymes for the gut"),
    ),
    "D": (
        Fact("lies behind the stomach", "lying behind the stomach", "behind the stomach"),
        Fact("crosses the spine in the upper abdomen", "crossing the spine in the upper abdomen",
             "across the spine in the upper abdomen"),
        Fact("reaches from the duodenum toward the left", "reaching from the duodenum toward the left",
             "from the duodenum toward the left"),
    ),
    "E": (
        Fact("looks long and thin behind the stomach", "looking long and thin behind the stomach",
             "with a long and thin look behind the stomach"),
        Fact("appears as a lobed band across the spine", "appearing as a lobed band across the spine",
             "with a lobed band across the spine"),
    ),
    "F": (
        Fact("fails in diabetes", "failing in diabetes", "to check in diabetes"),
        Fact("is inflamed by gallstones", "inflamed by gallstones", "with inflammation from gallstones"),
        Fact("is removed in a Whipple operation", "removed in a Whipple operation", "for a Whipple operation"),
    ),
}  # fmt: skip

_BLADDER = {
    "B": (
        Fact("has a hollow muscular wall", "having a hollow muscular wall", "with a hollow muscular wall"),
        Fact("is the reservoir of the urinary tract", "being the reservoir of the urinary tract",
             "as the reservoir of the urinary tract"),
    ),
    "C": (
        Fact("stores urine", "storing urine", "where urine is stored"),
        Fact("holds urine until it is passed", "holding urine until it is passed", "where urine is held until passed"),
        Fact("stretches as it fills with urine", "stretching as it fills with urine",
             "with a stretch as it fills with urine"),
    ),
    "D": (
        Fact("lies low in the pelvis", "lying low in the pelvis", "low in the pelvis"),
        Fact("sits behind the pubis", "sitting behind the pubis", "behind the pubis"),
        Fact("receives both ureters in the pelvis", "receiving both ureters in the pelvis",
             "at the end of both ureters in the pelvis"),
    ),
    "E": (
        Fact("looks round and full of fluid in the pelvis", "looking round and full of fluid in the pelvis",
             "with a round look, full of fluid in the pelvis"),
        Fact("appears dark and smooth low in the pelvis", "appearing dark and smooth low in the pelvis",
             "with a dark and smooth look low in the pelvis"),
    ),
    "F": (
        Fact("is emptied by a catheter", "emptied by a catheter", "with a catheter"),
        Fact("leaks in incontinence", "leaking in incontinence", "to check in incontinence"),
        Fact("is overfull in urinary retention", "overfull in urinary retention", "with urinary retention"),
    ),
}  # fmt: skip

_LUNG = {
    "B": (
        Fact("{be} made of spongy tissue", "made of spongy tissue", "of spongy tissue"),
        Fact("{be} built of airways and air sacs", "built of airways and air sacs", "of airways and air sacs"),
    ),
    "C": (
        Fact("breathe{s} air", "breathing air", "for breathing air"),
        Fact("bring{s} oxygen into the blood", "bringing oxygen into the blood", "for bringing oxygen into the blood"),
        Fact("release{s} carbon dioxide", "releasing carbon dioxide", "for the release of carbon dioxide"),
    ),
    "D": (
        Fact("lie{s} beside the heart", "lying beside the heart", "beside the heart"),
        Fact("fill{s} the chest inside the ribs", "filling the chest inside the ribs", "in the chest inside the ribs"),
        Fact("rest{s} on the diaphragm", "resting on the diaphragm", "on top of the diaphragm"),
    ),
    "E": (
        Fact("look{s} black and full of air", "looking black and full of air", "with a black look, full of air"),
        Fact("appear{s} as dark air in the chest", "appearing as dark air in the chest", "with dark air in the chest"),
    ),
    "F": (
        Fact("{be} inflamed in pneumonia", "inflamed in pneumonia", "with inflammation from pneumonia"),
        Fact("{be} damaged by smoking", "damaged by smoking", "with damage from smoking"),
        Fact("wheeze{s} in asthma", "wheezing in asthma", "with the wheeze of asthma"),
    ),
}  # fmt: skip

_BONE = {
    "B": (
        Fact("is hard with calcium", "being hard with calcium", "of hard calcium"),
        Fact("is the rigid frame of the body", "being the rigid frame of the body", "for the rigid frame of the body"),
    ),
    "C": (
        Fact("carries the weight of the body", "carrying the weight of the body", "to carry the weight of the body"),
        Fact("makes blood cells in its marrow", "making blood cells in its marrow", "with blood cells in its marrow"),
        Fact("protects the spinal cord", "protecting the spinal cord", "to protect the spinal cord"),
    ),
    "D": (
        Fact("includes the spine, the ribs and the hips", "including the spine, the ribs and the hips",
             "of the spine, the ribs and the hips"),
        Fact("surrounds the spinal cord", "surrounding the spinal cord", "around the spinal cord"),
        Fact("anchors the muscles at the joints", "anchoring the muscles at the joints",
             "under the muscles at the joints"),
    ),
    "E": (
        Fact("looks bright white on CT", "looking bright white on CT", "with a bright white look on CT"),
        Fact("has the highest density on CT", "having the highest density on CT", "of the highest density on CT"),
    ),
    "F": (
        Fact("breaks in a fracture", "broken in a fracture", "with a fracture"),
        Fact("thins in osteoporosis", "thinned by osteoporosis", "with osteoporosis"),
        Fact("is set in a cast after a fracture", "set in a cast after a fracture", "in a cast after a fracture"),
    ),
}  # fmt: skip

_BRAIN = {
    "B": (
        Fact("is the center of the nervous system", "being the center of the nervous system",
             "at the center of the nervous system"),
        Fact("has two folded hemispheres", "having two folded hemispheres", "with two folded hemispheres"),
    ),
    "C": (
        Fact("thinks and remembers", "thinking and remembering", "to think and remember"),
        Fact("controls movement and speech", "controlling movement and speech",
             "for the control of movement and speech"),
        Fact("senses light and sound", "sensing light and sound", "to sense light and sound"),
    ),
    "D": (
        Fact("lies inside the skull", "lying inside the skull", "inside the skull"),
        Fact("sits above the neck and behind the eyes", "sitting above the neck and behind the eyes",
             "above the neck and behind the eyes"),
        Fact("fills the head", "filling the head", "in the head"),
    ),
    "E": (
        Fact("looks gray inside a white skull", "looking gray inside a white skull",
             "with a gray look inside a white skull"),
        Fact("appears as folded gray tissue in the head", "appearing as folded gray tissue in the head",
             "with folded gray tissue in the head"),
    ),
    "F": (
        Fact("is injured in a stroke", "injured in a stroke", "with a stroke"),
        Fact("is checked after a blow to the head", "checked after a blow to the head",
             "to check after a blow to the head"),
        Fact("shrinks in dementia", "shrinking in dementia", "with dementia"),
    ),
}  # fmt: skip

_TUMOR = {
    "B": (
        Fact("is made of abnormal cells", "made of abnormal cells", "of abnormal cells"),
        Fact("counts as new abnormal tissue", "counting as new abnormal tissue", "of new abnormal tissue"),
    ),
    "C": (
        Fact("grows without control", "growing without control", "with growth out of control"),
        Fact("spreads to other organs", "spreading to other organs", "with spread to other organs"),
        Fact("replaces normal tissue", "replacing normal tissue", "in place of normal tissue"),
    ),
    "D": (
        Fact("bulges from the kidney", "bulging from the kidney", "in a bulge of the kidney"),
        Fact("pushes normal kidney tissue aside", "pushing normal kidney tissue aside",
             "with normal kidney tissue pushed aside"),
    ),
    "E": (
        Fact("enhances unevenly", "enhancing unevenly", "with uneven enhancement"),
        Fact("looks gray and irregular", "looking gray and irregular", "with a gray and irregular look"),
    ),
    "F": (
        Fact("is staged before surgery", "staged before surgery", "for staging before surgery"),
        Fact("is sampled by biopsy", "sampled by biopsy", "for a biopsy"),
        Fact("is cut out in surgery", "cut out in surgery", "for surgery"),
    ),
}  # fmt: skip

_CYST = {
    "B": (
        Fact("is made of fluid in a thin wall", "made of fluid in a thin wall", "of fluid in a thin wall"),
        Fact("counts as simple and benign", "counting as simple and benign", "of the simple and benign kind"),
    ),
    "C": (
        Fact("holds clear water", "holding clear water", "with clear water"),
        Fact("collects fluid slowly", "collecting fluid slowly", "where fluid slowly collects"),
        Fact("stays full of water", "staying full of water", "full of water"),
    ),
    "D": (
        Fact("lies at the edge of the kidney", "lying at the edge of the kidney", "at the edge of the kidney"),
        Fact("hangs from the kidney like a drop", "hanging from the kidney like a drop",
             "on the kidney like a drop"),
    ),
    "E": (
        Fact("looks dark and round", "looking dark and round", "with a dark and round look"),
        Fact("stays dark without enhancement", "staying dark without enhancement", "without any enhancement"),
    ),
    "F": (
        Fact("is usually harmless", "usually harmless", "of the harmless kind"),
        Fact("needs no treatment", "needing no treatment", "in no need of treatment"),
        Fact("is only followed over time", "only followed over time", "to be followed over time"),
    ),
}  # fmt: skip

_BRAINSTEM = {
    "B": (
        Fact("joins the brain to the cord below", "joining the brain to the cord below",
             "between the brain and the cord below it"),
        Fact("is made of midbrain, pons and medulla", "made of midbrain, pons and medulla",
             "of midbrain, pons and medulla"),
    ),
    "C": (
        Fact("keeps breathing and heartbeat going", "keeping breathing and heartbeat going",
             "to keep breathing and heartbeat going"),
        Fact("relays nerve signals from brain to body", "relaying nerve signals from brain to body",
             "to relay nerve signals from brain to body"),
        Fact("steers swallowing and eye movement", "steering swallowing and eye movement",
             "to steer swallowing and eye movement"),
    ),
    "D": (
        Fact("lies in front of the cerebellum", "lying in front of the cerebellum", "in front of the cerebellum"),
        Fact("sits at the base of the skull", "sitting at the base of the skull", "at the base of the skull"),
        Fact("passes the foramen magnum", "passing the foramen magnum", "above the foramen magnum"),
    ),
    "E": (
        Fact("looks gray in the middle of the posterior fossa", "looking gray in the middle of the posterior fossa",
             "with a gray look in the middle of the posterior fossa"),
        Fact("appears as a soft column behind the clivus", "appearing as a soft column behind the clivus",
             "with a soft column behind the clivus"),
    ),
    "F": (
        Fact("is spared when the nasopharynx is irradiated", "spared when the nasopharynx is irradiated",
             "to be spared when the nasopharynx is irradiated"),
        Fact("must work or a patient is brain dead", "working unless a patient is brain dead",
             "at work unless a patient is brain dead"),
        Fact("is crushed when the tonsils herniate", "crushed when the tonsils herniate",
             "at risk of being crushed when the tonsils herniate"),
    ),
}  # fmt: skip

_SPINAL_CORD = {
    "B": (
        Fact("is the long bundle of nerves in the back", "being the long bundle of nerves in the back",
             "of the long bundle of nerves in the back"),
        Fact("gives off paired nerve roots", "giving off paired nerve roots", "with paired nerve roots"),
    ),
    "C": (
        Fact("carries nerve signals to the limbs", "carrying nerve signals to the limbs",
             "to carry nerve signals to the limbs"),
        Fact("works the knee reflex", "working the knee reflex", "at work in the knee reflex"),
        Fact("brings touch up from the limbs", "bringing touch up from the limbs", "to bring touch up from the limbs"),
    ),
    "D": (
        Fact("runs inside the vertebral canal", "running inside the vertebral canal", "inside the vertebral canal"),
        Fact("lies behind the vertebral bodies", "lying behind the vertebral bodies", "behind the vertebral bodies"),
        Fact("reaches from the neck to the waist", "reaching from the neck to the waist",
             "from the neck to the waist"),
    ),
    "E": (
        Fact("looks like a small gray disk in a bony ring", "looking like a small gray disk in a bony ring",
             "with a small gray disk look in a bony ring"),
        Fact("appears thin and soft amid vertebrae", "appearing thin and soft amid vertebrae",
             "with a thin and soft look amid vertebrae"),
    ),
    "F": (
        Fact("is cut in paraplegia", "cut in paraplegia", "with paraplegia from a cut"),
        Fact("is squeezed by a slipped disk", "squeezed by a slipped disk", "with a squeeze from a slipped disk"),
        Fact("limits the dose in spine radiotherapy", "limiting the dose in spine radiotherapy",
             "with a dose limit in spine radiotherapy"),
    ),
}  # fmt: skip

_PAROTID = {
    "B": (
        Fact("{be} of the largest salivary kind", "being of the largest salivary kind", "of the largest salivary kind"),
        Fact("open{s} with a duct into the cheek", "opening with a duct into the cheek", "with a duct into the cheek"),
    ),
    "C": (
        Fact("make{s} saliva", "making saliva", "where saliva is made"),
        Fact("wet{s} food with saliva", "wetting food with saliva", "to wet food with saliva"),
        Fact("keep{s} the mouth moist", "keeping the mouth moist", "to keep the mouth moist"),
    ),
    "D": (
        Fact("lie{s} in front of the ear", "lying in front of the ear", "in front of the ear"),
        Fact("wrap{s} around the back of the jaw", "wrapping around the back of the jaw",
             "around the back of the jaw"),
        Fact("surround{s} the facial nerve", "surrounding the facial nerve", "around the facial nerve"),
    ),
    "E": (
        Fact("look{s} fatty and lobed below the ear", "looking fatty and lobed below the ear",
             "with a fatty and lobed look below the ear"),
        Fact("appear{s} darker than muscle behind the jaw", "appearing darker than muscle behind the jaw",
             "with a look darker than muscle behind the jaw"),
    ),
    "F": (
        Fact("swell{s} in mumps", "swollen in mumps", "with swelling in mumps"),
        Fact("stay{s} dry after radiotherapy of the throat", "staying dry after radiotherapy of the throat",
             "dry after radiotherapy of the throat"),
        Fact("{be} blocked by a salivary stone", "blocked by a salivary stone", "with a salivary stone"),
    ),
}  # fmt: skip

_ESOPHAGUS = {
    "B": (
        Fact("is the muscular tube from throat to stomach", "being the muscular tube from throat to stomach",
             "as the muscular tube from throat to stomach"),
        Fact("begins the digestive tract below the throat", "beginning the digestive tract below the throat",
             "of the digestive tract below the throat"),
    ),
    "C": (
        Fact("moves food to the stomach", "moving food to the stomach", "to move food to the stomach"),
        Fact("swallows what is eaten", "swallowing what is eaten", "to swallow what is eaten"),
        Fact("squeezes each bite downward", "squeezing each bite downward", "to squeeze each bite downward"),
    ),
    "D": (
        Fact("lies behind the windpipe", "lying behind the windpipe", "behind the windpipe"),
        Fact("passes through the diaphragm", "passing through the diaphragm", "through the diaphragm"),
        Fact("runs between windpipe and spine", "running between windpipe and spine", "between windpipe and spine"),
    ),
    "E": (
        Fact("looks like a small flat ring behind the airway", "looking like a small flat ring behind the airway",
             "with a small flat ring look behind the airway"),
        Fact("appears collapsed with a dot of gas", "appearing collapsed with a dot of gas",
             "with a collapsed look and a dot of gas"),
    ),
    "F": (
        Fact("burns in acid reflux", "burning in acid reflux", "with the burn of acid reflux"),
        Fact("bleeds from varices", "bleeding from varices", "with bleeding varices"),
        Fact("is sore when swallowing after radiotherapy", "sore when swallowing after radiotherapy",
             "with sore swallowing after radiotherapy"),
    ),
}  # fmt: skip

_LARYNX = {
    "B": (
        Fact("is the gate to the airway", "being the gate to the airway", "at the gate to the airway"),
        Fact("is built of cartilage and vocal folds", "built of cartilage and vocal folds",
             "of cartilage and vocal folds"),
    ),
    "C": (
        Fact("makes the voice", "making the voice", "where the voice is made"),
        Fact("guards the airway against food", "guarding the airway against food",
             "to guard the airway against food"),
        Fact("vibrates in speech and song", "vibrating in speech and song", "to vibrate in speech and song"),
    ),
    "D": (
        Fact("lies above the windpipe in the neck", "lying above the windpipe in the neck",
             "above the windpipe in the neck"),
        Fact("sits behind the Adam's apple", "sitting behind the Adam's apple", "behind the Adam's apple"),
        Fact("hangs below the hyoid", "hanging below the hyoid", "below the hyoid"),
    ),
    "E": (
        Fact("looks like an airway inside a shield of cartilage", "looking like an airway inside a shield of cartilage",
             "with an airway look inside a shield of cartilage"),
        Fact("appears as a triangle of air in the front of the neck",
             "appearing as a triangle of air in the front of the neck",
             "with a triangle of air in the front of the neck"),
    ),
    "F": (
        Fact("is hoarse in a cold", "hoarse in a cold", "to check when hoarse in a cold"),
        Fact("is intubated for anesthesia", "intubated for anesthesia", "for intubated anesthesia"),
        Fact("swells shut in croup", "swollen shut in croup", "with shut swelling in croup"),
    ),
}  # fmt: skip

_MANDIBLE = {
    "B": (
        Fact("is the only bone of the face that moves", "being the only bone of the face that moves",
             "as the only bone of the face that moves"),
        Fact("holds the lower teeth", "holding the lower teeth", "with the lower teeth"),
    ),
    "C": (
        Fact("chews food", "chewing food", "to chew food"),
        Fact("opens the mouth", "opening the mouth", "to open the mouth"),
        Fact("clenches the teeth", "clenching the teeth", "to clench the teeth"),
    ),
    "D": (
        Fact("forms the chin", "forming the chin", "at the chin"),
        Fact("hinges in front of the ears", "hinging in front of the ears", "with a hinge in front of the ears"),
        Fact("lies below the mouth", "lying below the mouth", "below the mouth"),
    ),
    "E": (
        Fact("looks like a white horseshoe in the lower face", "looking like a white horseshoe in the lower face",
             "with a white horseshoe look in the lower face"),
        Fact("appears as a bright arch with teeth", "appearing as a bright arch with teeth",
             "with a bright arch with teeth"),
    ),
    "F": (
        Fact("is broken by a punch to the chin", "broken by a punch to the chin",
             "at risk of being broken by a punch to the chin"),
        Fact("dies after radiotherapy of the mouth", "dying after radiotherapy of the mouth",
             "with dying bone after radiotherapy of the mouth"),
        Fact("locks when its joint slips", "locked when its joint slips", "to be locked when its joint slips"),
    ),
}  # fmt: skip

_KIDNEY_NAMES = ("kidney", "kidneys", "renal", "nephric")
_PAROTID_NAMES = ("parotid", "parotids")
_GLANDS_HEADS = ("glands", "organs", "structures")
_LUNG_NAMES = ("lung", "lungs", "pulmonary")

SUBJECTS: dict[str, Subject] = {
    "liver": Subject(("liver", "hepatic organ"), ("liver", "hepatic"), _ORGAN_HEADS, _LIVER),
    "kidney": Subject(("kidney", "renal organ"), _KIDNEY_NAMES, _ORGAN_HEADS, _KIDNEY),
    "kidneys": Subject(("kidneys", "renal organs"), _KIDNEY_NAMES, _ORGANS_HEADS, _KIDNEY, plural=True),
    "spleen": Subject(("spleen", "splenic organ"), ("spleen", "splenic"), _ORGAN_HEADS, _SPLEEN),
    "pancreas": Subject(("pancreas", "pancreatic gland"), ("pancreas", "pancreatic"), ("gland", "organ", "structure"),
                        _PANCREAS),
    "bladder": Subject(("bladder", "urinary bladder"), ("bladder", "vesical"), _ORGAN_HEADS, _BLADDER),
    "lung": Subject(("lung", "pulmonary organ"), _LUNG_NAMES, _ORGAN_HEADS, _LUNG),
    "lungs": Subject(("lungs", "pulmonary organs"), _LUNG_NAMES, _ORGANS_HEADS, _LUNG, plural=True),
    "bone": Subject(("bone", "skeleton"), ("bone", "bones", "skeleton", "skeletal", "osseous"),
                    ("tissue", "framework", "material"), _BONE),
    "brain": Subject(("brain", "cerebral tissue"), ("brain", "cerebral", "cerebrum"), _ORGAN_HEADS, _BRAIN),
    "brainstem": Subject(("brainstem", "brain stem"), ("brainstem", "stem"), _ORGAN_HEADS, _BRAINSTEM),
    "spinal cord": Subject(("spinal cord", "spinal medulla"), ("spinal",), _ORGAN_HEADS, _SPINAL_CORD),
    "parotid": Subject(("parotid", "parotid gland"), _PAROTID_NAMES, ("gland", "organ", "structure"), _PAROTID),
    "parotids": Subject(("parotids", "parotid glands"), _PAROTID_NAMES, _GLANDS_HEADS, _PAROTID, plural=True),
    "esophagus": Subject(("esophagus", "esophageal organ"), ("esophagus", "esophageal"), _ORGAN_HEADS, _ESOPHAGUS),
    "larynx": Subject(("larynx", "laryngeal organ"), ("larynx", "laryngeal"), _ORGAN_HEADS, _LARYNX),
    "mandible": Subject(("mandible", "lower jaw"), ("mandible", "mandibular", "jaw"), _ORGAN_HEADS, _MANDIBLE),
    "tumor": Subject(("tumor", "neoplasm"), ("tumor", "tumors", "neoplasm", "cancer", "carcinoma", "malignancy"),
                     ("solid growth", "solid lump", "solid lesion"), _TUMOR, determiner="any"),
    "cyst": Subject(("cyst", "cystic lesion"), ("cyst", "cysts", "cystic"),
                    ("fluid pocket", "watery bubble", "fluid-filled sac"), _CYST, determiner="any"),
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

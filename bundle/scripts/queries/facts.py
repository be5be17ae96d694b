"""What is said of the organs and lesions of phantoms, by the type of question, B to F. Data only."""

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


LIVER = {
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

KIDNEY = {
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

SPLEEN = {
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

PANCREAS = {
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

BLADDER = {
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

LUNG = {
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

BONE = {
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

BRAIN = {
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

TUMOR = {
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

CYST = {
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

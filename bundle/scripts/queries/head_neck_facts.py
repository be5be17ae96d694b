"""What is said of the organs that radiotherapy of the head and neck spares, as in `facts`. Data only."""

from __future__ import annotations

from .facts import Fact

BRAINSTEM = {
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

SPINAL_CORD = {
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

PAROTID = {
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

ESOPHAGUS = {
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

LARYNX = {
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

MANDIBLE = {
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

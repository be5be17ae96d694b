"""One case of a data set, made ready: its label map in parts, its questions, and what the report says of it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..layouts.found_cases import FoundCase
from ..queries.label_parts import Part, label_parts
from ..queries.own_targets import OwnTarget, all_paraphrases
from ..queries.real_bank import Dropped, Paraphrases, RealQuestions, real_questions
from ..volume.windows import CT
from .case_reading import Axes, ReadCase, Spacing, read_case
from .fingerprint import fingerprint

_WORDS = {"training": "train", "validation": "validation", "test": "test"}
"""What the bank calls each split."""


@dataclass(frozen=True)
class CasePreparer:
    """Makes cases ready; it is sent to the workers.

    Args:
        output_dir: `labels/<case>.nii.gz` is written there, and `images/<case>.nii.gz` for an image that was repaired.
        own_targets: the user's, beside those of the bank.
        questions_per_target: how many of a target.
        negatives: part of the questions that ask for what is not there.
        seed: of the choice of words; each case has its own chance, whoever else there is.
        axes, spacing: see `case_reading`.

    Raises:
        ValueError: numbers that are none of these.
    """

    output_dir: str
    own_targets: Sequence[OwnTarget] | None = None
    questions_per_target: int = 4
    negatives: float = 0.1
    seed: int = 0
    axes: Axes = None
    spacing: Spacing = None
    paraphrases: Mapping[str, Sequence[Paraphrases]] = field(init=False)

    def __post_init__(self) -> None:
        if self.questions_per_target < 1 or not 0.0 <= self.negatives < 1.0:
            raise ValueError(
                f"`questions_per_target` is {self.questions_per_target} and `negatives` {self.negatives}; give a whole "
                "number of at least 1, and a part of all questions, from 0 to less than 1"
            )
        words = {split: all_paraphrases(name, self.own_targets or ()) for split, name in _WORDS.items()}
        object.__setattr__(self, "paraphrases", words)

    def settings(self) -> dict[str, Any]:
        """What a record depends on beside its files and the bank, JSON types."""
        names = ("own_targets", "questions_per_target", "negatives", "seed", "axes", "spacing")
        return {name: getattr(self, name) for name in names}

    def __call__(self, case: FoundCase) -> dict[str, Any]:
        """The record of a case, JSON types.

        Raises:
            VolumeError, CaseError: the case cannot be used.
        """
        read = read_case(case, self.axes, self.spacing)
        made = _with_own_questions(case, read, self.paraphrases) if case.questions else self._with_bank(case, read)
        label, parts, notes, questions = made
        label_file = _save(label, read.affine, self.output_dir, f"labels/{case.case}.nii.gz")
        image_file = str(case.image.absolute())
        if read.is_changed:
            voxels = np.rint(read.image).astype(np.int16)
            image_file = _save(voxels, read.affine, self.output_dir, f"images/{case.case}.nii.gz")
        edges = np.linalg.norm(read.affine[:3, :3], axis=0)
        return {
            "case": case.case,
            "patient": case.patient,
            "image": image_file,
            "label": label_file,
            "split": case.split,
            "shape": list(label.shape),
            "axes": "".join(nib.aff2axcodes(read.affine)),
            "spacing_mm": [round(float(edge), 4) for edge in edges] if read.spacing_is_known else None,
            "names": list(case.names),
            "parts": [part._asdict() for part in parts],
            "repairs": read.repairs,
            "notes": [*notes, *read.warnings],
            # Of a picture the patient is its content already, and it has too few slices to be told by its noise.
            "fingerprint": fingerprint(read.image) if case.intensity == CT else [],
            "questions": {split: asked.entries for split, asked in questions.items()},
            "dropped": {split: [drop._asdict() for drop in asked.dropped] for split, asked in questions.items()},
        }

    def _with_bank(self, case: FoundCase, read: ReadCase) -> _Made:
        """The label map in parts, and questions of the bank in the words of each split."""
        found = label_parts(read.label, read.affine, case.names)
        questions = {}
        for split, words in self.paraphrases.items():
            rng = np.random.default_rng([self.seed, zlib.crc32(case.case.encode())])
            questions[split] = real_questions(found, words, self.questions_per_target, rng, negatives=self.negatives)
        return found.label, found.parts, found.notes, questions


_Made = tuple[np.ndarray, Sequence[Part], Sequence[str], dict[str, RealQuestions]]
"""Label map, what its values are, notes, and the questions of each split."""


def _with_own_questions(case: FoundCase, read: ReadCase, splits: Mapping[str, Any]) -> _Made:
    """The mask as it is, and the questions that came with it, but those about a value that it has not."""
    voxel_ml = abs(float(np.linalg.det(read.affine[:3, :3]))) / 1000
    counts = np.bincount(read.label.ravel())
    parts = [
        Part(value, name, None, int(counts[value]), counts[value] * voxel_ml)
        for name, values in case.names.items()
        for value in values
        if value < len(counts) and counts[value]
    ]
    known = {part.value for part in parts}
    asked = [question for question in case.questions if known.issuperset(question["label_values"])]
    dropped = [
        Dropped(question["target"], "the mask has no such value")
        for question in case.questions
        if not known.issuperset(question["label_values"])
    ]
    return read.label.astype(np.uint16), parts, (), dict.fromkeys(splits, RealQuestions(asked, dropped))


def _save(voxels: np.ndarray, affine: np.ndarray, folder: str, name: str) -> str:
    """Writes a volume in one piece, and returns its name in the folder."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    partial = path.with_name(f".{path.name}")
    nib.save(image, partial)
    os.replace(partial, path)
    return name

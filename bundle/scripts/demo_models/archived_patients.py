"""Patients of an archive as a data set: what the demo language model is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ..datasets.volume_queries import VolumeQueries, with_sft_answers
from ..queries.bank import sample_queries
from .frames import whole_frame
from .patient_archive import HEAD_NECK, read_archive


class ArchivedPatients(Dataset):
    """Each patient of the development split in the frame that inference would show; the same queries every time.

    Args:
        archive: see `patient_archive`; None: no patients.
        num_slices: S.
        slice_size: H = W in pixels.
        queries_per_volume: K.
        paraphrases: split of the queries' wording.
        window: lower and upper HU that become 0 and 1.
    """

    def __init__(
        self,
        archive: str | Path | None,
        num_slices: int,
        slice_size: int,
        queries_per_volume: int = 14,
        paraphrases: str = "validation",
        window: Sequence[float] = (-160.0, 240.0),
    ) -> None:
        self.patients = read_archive(archive, "development") if archive else []
        self.num_slices = num_slices
        self.slice_size = slice_size
        self.queries_per_volume = queries_per_volume
        self.paraphrases = paraphrases
        self.window = (float(window[0]), float(window[1]))

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int) -> VolumeQueries:
        patient = self.patients[index]
        rng = np.random.default_rng(index)
        slices, marks = whole_frame(patient, self.num_slices, self.slice_size, self.window)
        label = marks.numpy()
        sampled = sample_queries(
            label, patient.subset, self.paraphrases, self.queries_per_volume, rng, 0.0, labeled=patient.labeled
        )
        return with_sft_answers(f"patient_{index}", slices, sampled, label, HEAD_NECK, rng, top_k=1)

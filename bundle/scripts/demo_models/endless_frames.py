"""Frames of phantoms and of patients without end, tokenised and packed: what the demo language model is trained on.

The workers of a `DataLoader` each make their own phantoms and keep some of them, for a frame takes a tenth of the time
that a phantom takes. Everything that Python has to do is done here, so that the training itself only starts kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from transformers import AutoTokenizer

from ..anchor import format_completion
from ..lvlm.prompts import PromptBuilder
from ..lvlm.volume_batch import PackedQueries, QueryTokens, pack_queries
from ..phantom.scan import LABELS, SEEDS, make_phantom
from ..queries.bank import sample_queries
from ..queries.reasoning import name_of_mask, rule_made_think
from ..targets import sft_anchor
from .frames import LabelledVolume, draw_frame
from .patient_archive import HEAD_NECK, read_archive

LABEL_NAMES = {**LABELS, **HEAD_NECK}
PATIENTS = "head_neck"
"""The subset that is no phantom."""

_ELSEWHERE = {
    PATIENTS: ("wide", frozenset(range(1, 7))),
    "organs": (PATIENTS, frozenset({13, 15, 16, 18, 19})),
    "renal": (PATIENTS, frozenset({13, 15, 16, 18, 19})),
}
"""For a region of the body, what lies in none of its frames: whose queries, about which labels."""
_CHANCE_OF_ELSEWHERE = 0.15  # of a frame to be asked one of these

_CHANCE_OF_FEWER = 0.25  # slices, of a batch
_SPECK = 12  # voxels; of less it cannot be said whether it is there
_FEWEST_SLICES, _MOST_SLICES = 40, 64
_PIXELS = 128  # of a phantom's side
_KEPT = 64  # phantoms that a worker draws from


class Frame(NamedTuple):
    """One volume with its queries.

    Attributes:
        slices: uint8 [S, H, W].
        label: uint8 [S, H, W].
        labeled: bool [L], which of `LABEL_NAMES` were drawn in this patient.
        queries: K, tokenised.
    """

    slices: np.ndarray
    label: np.ndarray
    labeled: np.ndarray
    queries: list[QueryTokens]


class FrameBatch(NamedTuple):
    """B frames.

    Attributes:
        slices: uint8 [B, S, H, W].
        label: uint8 [B, S, H, W].
        labeled: bool [B, L].
        packed: their queries and completions.
    """

    slices: torch.Tensor
    label: torch.Tensor
    labeled: torch.Tensor
    packed: PackedQueries


class EndlessFrames(IterableDataset):
    """Frames without end; another seed, another sequence.

    Args:
        lvlm_path: folder of the tokenizer.
        archive: of patients, see `patient_archive`; None for phantoms alone.
        shares: how often a frame is of which subset of phantoms, or of a patient (`head_neck`).
        num_slices: S at most; a quarter of the batches has fewer, as thick scans do.
        slice_size: H = W in pixels.
        batch_size: so many frames in a row have the same S.
        queries_per_volume: K.
        window: lower and upper HU that become 0 and 1.
        top_k: slices among which the key slice is drawn.
        absent_fraction: chance of a query to ask for what is not in the frame.
        frames_per_phantom: frames that are drawn until a new phantom is made.
        seed: of all chance.

    Raises:
        ValueError: patients are to be shown and there is no archive.
    """

    def __init__(
        self,
        lvlm_path: str,
        archive: str | Path | None,
        shares: Mapping[str, float],
        num_slices: int,
        slice_size: int,
        batch_size: int = 1,
        queries_per_volume: int = 8,
        window: Sequence[float] = (-160.0, 240.0),
        top_k: int = 1,
        absent_fraction: float = 0.12,
        frames_per_phantom: int = 10,
        seed: int = 0,
    ) -> None:
        if shares.get(PATIENTS) and archive is None:
            raise ValueError(f"A share of {shares[PATIENTS]} for {PATIENTS!r} needs an archive (config key `archive`).")
        self.prompts = PromptBuilder(AutoTokenizer.from_pretrained(lvlm_path))
        self.patients = read_archive(archive, "train") if archive else []
        self.shares = dict(shares)
        self.num_slices = num_slices
        self.slice_size = slice_size
        self.batch_size = batch_size
        self.queries_per_volume = queries_per_volume
        self.window = (float(window[0]), float(window[1]))
        self.top_k = top_k
        self.absent_fraction = absent_fraction
        self.frames_per_phantom = frames_per_phantom
        self.seed = seed

    def __iter__(self) -> Iterator[Frame]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = np.random.default_rng([self.seed, number])
        subsets, chances = list(self.shares), np.array(list(self.shares.values()))
        kept: dict[str, list[LabelledVolume]] = {subset: [] for subset in subsets}
        made = count(number, workers)
        for drawn in count():
            subset = subsets[rng.choice(len(subsets), p=chances / chances.sum())]
            volumes = self.patients if subset == PATIENTS else kept[subset]
            if subset != PATIENTS and (not volumes or drawn % self.frames_per_phantom == 0):
                volumes.append(phantom_volume(SEEDS["train"][next(made)], subset, rng))
                del volumes[:-_KEPT]
            if drawn % self.batch_size == 0:
                fewer = rng.random() < _CHANCE_OF_FEWER
                num_slices = (
                    int(rng.integers(max(1, self.num_slices // 3), self.num_slices)) if fewer else self.num_slices
                )
            yield self.frame(volumes[rng.integers(len(volumes))], num_slices, rng)

    def frame(self, volume: LabelledVolume, num_slices: int, rng: np.random.Generator) -> Frame:
        """A frame of a volume with questions that can be asked about it."""
        while True:
            slices, label = draw_frame(volume, num_slices, self.slice_size, self.window, rng)
            if volume.subset != PATIENTS or len(np.intersect1d(label, list(volume.labeled))) > 0:
                break
        labeled = volume.labeled if volume.subset == PATIENTS else None
        sampled = sample_queries(
            label, volume.subset, "train", self.queries_per_volume, rng, self.absent_fraction, labeled=labeled
        )
        sampled = [(query, mask) for query, mask in sampled if not 0 < np.count_nonzero(mask) < _SPECK] or sampled[:1]
        if volume.subset in _ELSEWHERE and rng.random() < _CHANCE_OF_ELSEWHERE:
            subset, ids = _ELSEWHERE[volume.subset]
            empty = np.zeros_like(label)
            sampled = sampled[1:] + sample_queries(empty, subset, "train", 1, rng, 1.0, types=("H",), labeled=ids)
        return Frame(
            slices,
            label,
            np.isin(list(LABEL_NAMES), list(volume.labeled)),
            [self._tokens(query.text, query.target, mask, label, rng) for query, mask in sampled],
        )

    def _tokens(
        self, text: str, target: str, mask: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> QueryTokens:
        anchor = sft_anchor(mask, rng, self.top_k)
        name = name_of_mask(mask, label, LABEL_NAMES, target)
        completion = format_completion(anchor, rule_made_think(name, anchor))
        return self.prompts.tail_ids(text), [self.prompts.completion_ids(completion)]


def phantom_volume(seed: int, subset: str, rng: np.random.Generator) -> LabelledVolume:
    """A phantom to draw frames from, on a random number of slices."""
    shape = (_PIXELS, _PIXELS, int(rng.integers(_FEWEST_SLICES, _MOST_SLICES + 1)))
    phantom = make_phantom(seed, subset, shape=shape, canonical=True)
    # Voxel axes are (left, posterior, superior); slices are [Z, rows, columns].
    return LabelledVolume(
        image=np.ascontiguousarray(phantom.image.transpose(2, 1, 0)).astype(np.int16),
        label=np.ascontiguousarray(phantom.label.transpose(2, 1, 0)),
        labeled=frozenset(phantom.label_names),
        pixel_mm=float(np.linalg.norm(phantom.affine[:3, 0])),
        subset=subset,
    )


def collate_frames(frames: Sequence[Frame]) -> FrameBatch:
    """A batch, padded and packed on the worker that made it."""
    return FrameBatch(
        torch.from_numpy(np.stack([frame.slices for frame in frames])),
        torch.from_numpy(np.stack([frame.label for frame in frames])),
        torch.from_numpy(np.stack([frame.labeled for frame in frames])),
        pack_queries([frame.queries for frame in frames]),
    )

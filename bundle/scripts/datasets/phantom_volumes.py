"""Phantoms made on the fly, with queries and SFT answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..anchor import AnswerForm
from ..phantom.scan import SUBSETS, make_phantom, seeds_of
from ..queries.bank import sample_queries
from ..volume.geometry import uniform_slice_index
from ..volume.windows import HUWindow
from .volume_queries import VolumeQueries, check_sft_form, with_sft_answers

# Slices of a training phantom; between these, at random.
_FEWEST_SLICES, _MOST_SLICES = 24, 48


class PhantomVolumes(Dataset):
    """Phantoms at the model's size; item i is the same volume, queries and answers every time.

    Args:
        split: of the phantoms' seeds: `train`, `validation`, `test` or `pretrain` (see `phantom.scan.SEEDS`).
        num_volumes: length.
        num_slices: S, shown slices.
        slice_size: H = W in pixels.
        subsets: taken in turns.
        queries_per_volume: K at most; a volume without enough targets has fewer.
        paraphrases: split of the queries' wording; default: that of the seeds.
        window: lower and upper HU that become 0 and 1.
        top_k: slices among which the SFT key slice is drawn (paper, Sec. 2.4).
        first: where in the split's seeds to start: sets that do not overlap share no phantom.
        query_types: the types of queries (`queries.bank.TYPES`) that are asked; default: all.
        think: whether answers show the rule-made reasoning; False leaves an empty one.
        answer_form: of the SFT answers: "boxes", or "boxes_and_points", two points a box.

    Raises:
        ValueError: an unknown split, subset or form, fewer than 1 volume or more than the split has seeds behind
            `first`; in use, an unknown type.
    """

    def __init__(
        self,
        split: str,
        num_volumes: int,
        num_slices: int,
        slice_size: int,
        subsets: Sequence[str] = SUBSETS,
        queries_per_volume: int = 8,
        paraphrases: str | None = None,
        window: Sequence[float] = (-160.0, 240.0),
        top_k: int = 4,
        first: int = 0,
        query_types: Collection[str] | None = None,
        think: bool = True,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        check_sft_form(answer_form)
        if first < 0 or num_volumes < 1:
            raise ValueError(f"{num_volumes} volumes from seed number {first} on; give at least 1, from 0 or later on.")
        self.seeds = seeds_of(split, first + num_volumes, subsets)[first:]
        self.num_slices = num_slices
        self.slice_size = slice_size
        self.subsets = list(subsets)
        self.queries_per_volume = queries_per_volume
        self.paraphrases = paraphrases or ("train" if split == "pretrain" else split)
        self.window = HUWindow(window)
        self.top_k = top_k
        self.query_types = query_types
        self.think = think
        self.answer_form = answer_form

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> VolumeQueries:
        seed = self.seeds[index]
        subset = self.subsets[index % len(self.subsets)]
        rng = np.random.default_rng(seed)
        num_made = int(rng.integers(_FEWEST_SLICES, _MOST_SLICES + 1))
        shape = (self.slice_size, self.slice_size, num_made)
        phantom = make_phantom(seed, subset, shape=shape, canonical=True)
        shown = uniform_slice_index(num_made, self.num_slices)
        # Voxel axes are (left, posterior, superior); shown slices are [S, rows, columns].
        image = np.ascontiguousarray(phantom.image[:, :, shown].transpose(2, 1, 0))
        label = np.ascontiguousarray(phantom.label[:, :, shown].transpose(2, 1, 0))
        count, types = self.queries_per_volume, self.query_types
        sampled = sample_queries(label, subset, self.paraphrases, count, rng, types=types)
        case, slices = f"{subset}_{seed}", torch.from_numpy(self.window(image))
        return with_sft_answers(
            case,
            slices,
            sampled,
            label,
            phantom.label_names,
            rng,
            top_k=self.top_k,
            think=self.think,
            answer_form=self.answer_form,
        )

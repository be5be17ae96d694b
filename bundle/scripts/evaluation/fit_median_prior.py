"""Fits the image-free prior to training data.

    python -m medvol_r1.evaluation.fit_median_prior --volumes 300 --output bundle/models/median_prior.json

takes training phantoms of every subset, `--datalist train.json` in place of `--volumes` the volumes of a list. Both are
cropped to the body, as inference shows it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from tqdm import tqdm

from ..datasets.volume_cases import VolumeCaseDataset, read_volume_cases
from ..phantom.scan import ALL_SUBSETS, SEEDS, make_phantom
from ..queries.concepts import CONCEPTS
from ..queries.lesions import describe
from ..queries.resolvers import Unresolvable, select
from ..volume.body_crop import CropToBodyd, body_crop
from ..volume.geometry import cropped
from ..volume.transforms import LoadSlicesd, ResizeSlicesd
from .median_prior import MedianPrior, prior_name

# In plane and through plane; the prior is in relative coordinates.
_SHAPE = (96, 96, 36)


def phantom_examples(volumes: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every target of the first training phantoms of each subset: (`prior_name`, mask [S, H, W]).

    Args:
        volumes: phantoms of each subset.
    """
    for subset in ALL_SUBSETS:
        for seed in tqdm(SEEDS["train"][:volumes], desc=subset, leave=False):
            phantom = make_phantom(seed, subset, shape=_SHAPE, canonical=True)
            # Voxel axes are (left, posterior, superior); shown slices are [S, rows, columns].
            image, label = phantom.image.transpose(2, 1, 0), phantom.label.transpose(2, 1, 0)
            column_mm, row_mm = np.linalg.norm(phantom.affine[:3, :2], axis=0).tolist()
            crop = body_crop(image, row_mm, column_mm)
            if crop is not None:
                label = cropped(torch.from_numpy(np.ascontiguousarray(label)), crop).numpy()
            anatomy = describe(label)
            for concept in CONCEPTS[subset]:
                try:
                    mask = select(concept.resolver, anatomy).mask(label)
                except Unresolvable:
                    continue
                yield prior_name({"subset": subset, "target": concept.target}), mask


def listed_examples(datalist: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every target of every volume of a datalist, once: (`prior_name`, mask [S, H, W]).

    Raises:
        ValueError: the list, or a volume of it, cannot be read.
    """
    columns, _, slices = _SHAPE
    transforms = (
        LoadSlicesd("image", slices),
        CropToBodyd("image"),
        ResizeSlicesd("image", columns),
    )
    for item in tqdm(VolumeCaseDataset(read_volume_cases(datalist, ""), Compose(transforms)), leave=False):
        for failure in filter(None, item["failures"]):
            raise ValueError(f"{item['case']} of {datalist}: {failure['message']}")
        yield from {prior_name(q): t.shown for q, t in zip(item["queries"], item["targets"], strict=True)}.items()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Fit the image-free prior to training data.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--volumes", type=int, default=300, help="training phantoms of each subset")
    source.add_argument("--datalist", type=Path, help="JSON list of labelled volumes")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    examples = listed_examples(options.datalist) if options.datalist else phantom_examples(options.volumes)
    prior = MedianPrior.fit(examples)
    prior.save(options.output)
    print(f"{len(prior.positions)} targets written to {options.output}")


if __name__ == "__main__":
    main()

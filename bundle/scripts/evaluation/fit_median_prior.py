"""Fits the image-free prior to training phantoms of every subset.

python -m medvol_r1.evaluation.fit_median_prior --volumes 300 --output bundle/models/median_prior.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..phantom.scan import SEEDS, SUBSETS, make_phantom
from ..queries.bank import CONCEPTS
from ..queries.resolvers import Unresolvable, describe, select
from .median_prior import MedianPrior, prior_name

# In plane and through plane; the prior is in relative coordinates.
_SHAPE = (96, 96, 36)


def phantom_examples(volumes: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every target of so many training phantoms of each subset: (`prior_name`, mask [S, H, W])."""
    for subset in SUBSETS:
        for seed in tqdm(SEEDS["train"][:volumes], desc=subset, leave=False):
            # Voxel axes are (left, posterior, superior); shown slices are [S, rows, columns].
            label = make_phantom(seed, subset, shape=_SHAPE, canonical=True).label.transpose(2, 1, 0)
            anatomy = describe(label)
            for concept in CONCEPTS[subset]:
                try:
                    mask = select(concept.resolver, anatomy).mask(label)
                except Unresolvable:
                    continue
                yield prior_name({"subset": subset, "target": concept.target}), mask


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Fit the image-free prior to training phantoms.")
    parser.add_argument("--volumes", type=int, default=300, help="training phantoms of each subset")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    prior = MedianPrior.fit(phantom_examples(options.volumes))
    prior.save(options.output)
    print(f"{len(prior.positions)} targets written to {options.output}")


if __name__ == "__main__":
    main()

"""Write phantoms as NIfTI files with a datalist.

    python -m medvol_r1.datasets.write_phantoms --subset organs --split test --count 8 --output_dir phantoms

writes per patient `<patient>.nii.gz` (int16 HU), per target that it is asked for a binary mask
`<patient>_<target>_label.nii.gz` (uint8, 1 is the target), and `datalist.json`: a list of {"image", "label", "query",
"target", "type", "implicitness", "laterality", "case", "patient", "paraphrase_group", "subset"} with paths relative to
the datalist's folder. A target on one side of the body has the mask of the other side as "opposite_label". Several
subsets (`--subset organs renal`) share a folder and a list.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..phantom.scan import ALL_SUBSETS, SEEDS, Phantom, make_phantom
from ..queries.bank import Query, sample_queries
from ..queries.concepts import CONCEPTS, Concept
from ..queries.lesions import describe
from ..queries.resolvers import select


def write_phantoms(
    output_dir: str | Path,
    subset: str | Sequence[str],
    split: str,
    count: int,
    *,
    first: int = 0,
    queries_per_phantom: int = 1,
    shape: tuple[int, int, int] | None = None,
    canonical: bool = False,
) -> Path:
    """Write `count` phantoms of a split and their datalist.

    Args:
        output_dir: made when it is missing; files of the same name are replaced.
        subset: one of `phantom.scan.ALL_SUBSETS`, or several, of each `count` phantoms.
        split: one of `phantom.scan.SEEDS`. Queries use the words of that split ("train" for "pretrain").
        count: how many phantoms.
        first: where in the split's range of seeds to start.
        queries_per_phantom: one entry of the datalist each.
        shape, canonical: as in `make_phantom`.

    Returns:
        The path of the datalist.

    Raises:
        ValueError: unknown subset or split, or `first` and `count` do not fit the split's range of seeds.
    """
    seeds = _seeds(split, first, count)
    if queries_per_phantom < 1:
        raise ValueError(f"queries_per_phantom must be >= 1, got {queries_per_phantom}")
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir must be a folder, {str(folder)!r} is a file")
    entries = []
    for name in [subset] if isinstance(subset, str) else subset:
        for seed in seeds:
            phantom = make_phantom(seed, name, shape=shape, canonical=canonical)
            folder.mkdir(parents=True, exist_ok=True)
            words = "train" if split == "pretrain" else split
            entries += _write_phantom(folder, phantom, name, seed, words, queries_per_phantom)
    datalist = folder / "datalist.json"
    datalist.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return datalist


def _write_phantom(
    folder: Path, phantom: Phantom, subset: str, seed: int, words: str, num_queries: int
) -> list[dict[str, Any]]:
    """Files of one patient; returns its entries of the datalist."""
    patient = f"{subset}_{seed}"
    _save(np.rint(phantom.image).astype(np.int16), phantom.affine, folder / f"{patient}.nii.gz")
    anatomy = describe(phantom.label)
    written: set[str] = set()

    def label_file(target: str, resolver: str) -> str:
        name = f"{patient}_{target.replace(' ', '_').replace(':', '_')}_label.nii.gz"
        if name not in written:
            mask = select(resolver, anatomy).mask(phantom.label)
            _save(mask.astype(np.uint8), phantom.affine, folder / name)
            written.add(name)
        return name

    rng = np.random.default_rng((seed, ALL_SUBSETS.index(subset)))
    entries = []
    for number, (query, _) in enumerate(sample_queries(phantom.label, subset, words, num_queries, rng)):
        entry = {
            "image": f"{patient}.nii.gz",
            "label": label_file(query.target, query.resolver),
            "query": query.text,
            "target": query.target,
            "type": query.type,
            "implicitness": query.implicitness,
            "laterality": query.laterality,
            "case": patient if num_queries == 1 else f"{patient}_q{number}",
            "patient": patient,
            "paraphrase_group": query.paraphrase_group,
            "subset": subset,
        }
        other = next((concept for concept in CONCEPTS[subset] if _are_counterparts(concept, query)), None)
        if other is not None:
            entry["opposite_label"] = label_file(other.target, other.resolver)
        entries.append(entry)
    return entries


def _are_counterparts(concept: Concept, query: Query) -> bool:
    """Whether a concept is what the query asks for, on the other side."""
    sides = {"right": "left", "left": "right"}
    side = query.laterality
    return side in sides and query.target.replace(side, sides[side]) == concept.target


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="medvol_r1.datasets.write_phantoms", description=__doc__.split("\n")[0])
    parser.add_argument("--subset", required=True, choices=ALL_SUBSETS, nargs="+")
    parser.add_argument("--split", required=True, choices=list(SEEDS))
    parser.add_argument("--count", required=True, type=int, help="how many phantoms")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--first", type=int, default=0, help="where in the split's seeds to start (default 0)")
    parser.add_argument("--queries_per_phantom", type=int, default=1, help="datalist entries per phantom (default 1)")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("COLUMNS", "ROWS", "SLICES"), help="default: clinical")
    parser.add_argument("--canonical", action="store_true", help="voxel axes L, P, S instead of random axes")
    options = parser.parse_args(arguments)
    try:
        datalist = write_phantoms(
            options.output_dir,
            options.subset,
            options.split,
            options.count,
            first=options.first,
            queries_per_phantom=options.queries_per_phantom,
            shape=None if options.shape is None else tuple(options.shape),
            canonical=options.canonical,
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"Wrote {options.count * len(options.subset)} phantoms and {datalist}")


def _seeds(split: str, first: int, count: int) -> range:
    if split not in SEEDS:
        raise ValueError(f"split must be one of {', '.join(SEEDS)}, got {split!r}")
    seeds = SEEDS[split]
    if count < 1 or first < 0 or first + count > len(seeds):
        raise ValueError(
            f"count must be >= 1, first >= 0, and first + count at most {len(seeds)} for split {split!r}; "
            f"got first={first}, count={count}"
        )
    return seeds[first : first + count]


def _save(volume: np.ndarray, affine: np.ndarray, path: Path) -> None:
    image = nib.Nifti1Image(volume, affine)
    # Both codes say "scanner": readers that trust either one see the same affine.
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


if __name__ == "__main__":
    main()

"""Write phantoms as NIfTI files with a datalist.

    python -m medvol_r1.datasets.write_phantoms --subset organs --split test --count 8 --output_dir phantoms

writes per patient `<patient>.nii.gz` (int16 HU), per query a binary mask `<case>_label.nii.gz` (uint8, 1 is the
target), and `datalist.json`: a list of {"image", "label", "query", "target", "type", "case", "patient",
"paraphrase_group"} with paths relative to the datalist's folder.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from ..phantom import SEEDS, SUBSETS, make_phantom
from ..queries import sample_queries


def write_phantoms(
    output_dir: str | Path,
    subset: str,
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
        subset: one of `phantom.SUBSETS`.
        split: one of `phantom.SEEDS`. Queries use the words of that split ("train" for "pretrain").
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
    for seed in seeds:
        phantom = make_phantom(seed, subset, shape=shape, canonical=canonical)
        folder.mkdir(parents=True, exist_ok=True)
        patient = f"{subset}_{seed}"
        image_path = folder / f"{patient}.nii.gz"
        _save(np.rint(phantom.image).astype(np.int16), phantom.affine, image_path)
        words = "train" if split == "pretrain" else split
        rng = np.random.default_rng((seed, SUBSETS.index(subset)))
        for number, (query, mask) in enumerate(sample_queries(phantom.label, subset, words, queries_per_phantom, rng)):
            case = patient if queries_per_phantom == 1 else f"{patient}_q{number}"
            label_path = folder / f"{case}_label.nii.gz"
            _save(mask.astype(np.uint8), phantom.affine, label_path)
            entries.append(
                {
                    "image": image_path.name,
                    "label": label_path.name,
                    "query": query.text,
                    "target": query.target,
                    "type": query.type,
                    "case": case,
                    "patient": patient,
                    "paraphrase_group": query.paraphrase_group,
                }
            )
    datalist = folder / "datalist.json"
    datalist.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return datalist


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="medvol_r1.datasets.write_phantoms", description=__doc__.split("\n")[0])
    parser.add_argument("--subset", required=True, choices=SUBSETS)
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
    print(f"Wrote {options.count} phantoms and {datalist}")


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

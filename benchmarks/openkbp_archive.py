"""Head-and-neck CT of OpenKBP as one small file for `train_demo.json`.

    python benchmarks/openkbp_archive.py FOLDER --output openkbp.npz

The folder holds `ptNNN_ct.nii.gz` in HU and `ptNNN_oar.nii.gz` with labels 1 to 7. The images stay where they are
allowed to be: the file does not belong into the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from medvol_r1.demo_models.patient_archive import HEAD_NECK, LOWEST_HU, STEP_HU
from medvol_r1.volume.geometry import orientation_to_lps
from tqdm import tqdm


def slices_of(path: Path) -> tuple[np.ndarray, float]:
    """[Z, rows, columns] in LPS, and mm between columns."""
    source = nib.load(path)
    turned = source.as_reoriented(orientation_to_lps(source.affine))
    return np.asarray(turned.dataobj).transpose(2, 1, 0), float(turned.header.get_zooms()[0])


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Pack OpenKBP's patients into one file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the file, .npz")
    options = parser.parse_args()
    images = sorted(options.folder.glob("*_ct.nii.gz"))
    if not images:
        raise SystemExit(f"{options.folder} holds no *_ct.nii.gz.")
    shift = min(HEAD_NECK) - 1
    arrays: dict[str, np.ndarray] = {}
    for image in tqdm(images):
        name = image.name.removesuffix("_ct.nii.gz")
        hu, pixel_mm = slices_of(image)
        label, _ = slices_of(image.with_name(f"{name}_oar.nii.gz"))
        arrays[f"{name}_image"] = ((hu.astype(np.float32) - LOWEST_HU) / STEP_HU).round().clip(0, 255).astype(np.uint8)
        arrays[f"{name}_label"] = np.where(label > 0, label + shift, 0).astype(np.uint8)
        arrays[f"{name}_pixel_mm"] = np.array(pixel_mm)
    np.savez_compressed(options.output, **arrays)
    print(f"wrote {options.output}: {len(images)} patients, {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

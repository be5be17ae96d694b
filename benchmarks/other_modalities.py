"""Real MR, PET, CT and 2D images with masks through the same chain: true box, points or both in, Dice of the mask out.

    MEDVOL_REAL_OTHER=... MEDVOL_REAL_CT=... python benchmarks/other_modalities.py

The language model is left out: the prompts are the true ones, so the table says what windows, grids and MedSAM2 (here
the small one that is shipped, trained on phantoms and head-and-neck CT) do with another modality. Each mask is compared
with its label on the grid of the file, which it must have. What lies in the folders, and its licences: their README.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from medvol_r1.inferer import slices_of
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.metrics import dice
from medvol_r1.propagation import SlicePropagator
from medvol_r1.slice_prompt import SlicePrompt, prompt_of
from medvol_r1.targets import target_mask
from medvol_r1.umrg.marks import true_anchor
from medvol_r1.volume.geometry import SliceGeometry, restore_mask, shown_mask
from medvol_r1.volume.io import read_volume
from medvol_r1.volume.transforms import LoadSlicesd, ResizeSlicesd, WindowIntensityd
from PIL import Image
from tqdm import tqdm

_PROMPTS = ("box", "points", "both")


class Case(NamedTuple):
    """An image with a label, in a group of the table."""

    group: str
    image: Path
    label: Path
    values: list[int] | None
    intensity: str


def volumes(folder: Path) -> Iterator[Case]:
    """The volumes, of each label what is named in the table."""
    mr = folder / "mr"
    yield Case("MR, spine (T2), one vertebra", mr / "sub-mri_label-6_T2w.nii.gz",
               mr / "sub-mri_seg-vert_label-6_msk.nii.gz", [6], "percentiles")  # fmt: skip
    for name, value in (("liver", 5), ("spleen", 1), ("right kidney", 2), ("left kidney", 3)):
        yield Case(f"MR, abdomen, {name}", mr / "example_mr_sm.nii.gz", mr / "example_seg_mr.nii.gz",
                   [value], "percentiles")  # fmt: skip
    for modality, intensity in (("CT", "ct"), ("MR_T1", "percentiles"), ("PET", "percentiles")):
        files = (folder / "sarcoma" / f"STS_002_{modality}_{kind}.nii.gz" for kind in ("image", "mask"))
        yield Case(f"{modality.replace('_', ', ')}, sarcoma of one patient", *files, [1], intensity)


def images(folder: Path, kits: Path, scratch: Path) -> Iterator[Case]:
    """The 2D images; arrays are written as PNG of 16 bits first."""
    names = {"BTCV": "CT of the pelvis", "HipXRay": "X-ray of the hip", "OCTA500": "OCT angiography", "SCD": "cine MR"}
    for path in sorted((folder / "2d_medscribble").glob("*.npz")):
        arrays = np.load(path)
        image, label = scratch / f"{path.stem}.png", scratch / f"{path.stem}_mask.png"
        Image.fromarray(arrays["img"]).save(image)
        Image.fromarray(arrays["seg"] * np.uint8(255)).save(label)
        yield Case(f"2D, {names[path.stem.split('_')[0]]}", image, label, None, "percentiles")
    for number in (0, 10, 20):
        files = (folder / "2d_em_membrane" / f"{kind}_{number}.png" for kind in ("image", "label"))
        yield Case("2D, electron microscopy, all cells", *files, None, "full_range")
    stardist = folder / "2d_stardist"
    label, _ = read_volume(stardist / "mask2d.tif", is_label=True)
    largest = int(np.bincount(label.astype(int).ravel())[1:].argmax()) + 1
    yield Case("2D, fluorescence, largest nucleus", stardist / "img2d.tif", stardist / "mask2d.tif", [largest],
               "percentiles")  # fmt: skip
    for name in ("kidney", "tumor", "kidney+cyst"):
        yield Case(f"2D, CT of the abdomen, {name}", kits / "demo__07_CT_abdomen.png",
                   kits / f"demo_mask__07_CT_abdomen_{name}.png", None, "full_range")  # fmt: skip


def dices(case: Case, propagator: SlicePropagator, num_slices: int, size: int) -> dict[str, float]:
    """Dice on the grid of the file, by prompt."""
    load = LoadSlicesd("image", num_slices, intensity=case.intensity)
    window = WindowIntensityd("image", case.intensity)
    image = ResizeSlicesd("image", size)(window(load({"image": case.image})))["image"]
    geometry = SliceGeometry.from_meta(image.meta)
    truth = target_mask(read_volume(case.label, is_label=True)[0], case.values)
    anchor = true_anchor({}, shown_mask(truth, geometry, size, size))
    if anchor is None:
        raise SystemExit(f"{case.label} marks nothing with the values {case.values}")
    both = prompt_of(anchor, size, size)
    prompts = {
        "box": SlicePrompt(both.key_index, both.boxes_xyxy_px),
        "points": SlicePrompt(both.key_index, (), both.points_xy_px),
        "both": both,
    }
    masks = propagator.masks(slices_of(image.as_tensor()), list(prompts.values()))
    found = {}
    for name, mask in zip(prompts, masks, strict=True):
        restored = restore_mask(mask, geometry)
        if restored.shape != truth.shape:
            raise SystemExit(f"the mask of {case.image} has the grid {restored.shape}, its label {truth.shape}")
        found[name] = dice(restored, truth)
    return found


def main() -> None:
    """The command; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsam2", default="bundle/models/medsam2")
    parser.add_argument("--num_slices", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a shown slice")
    parser.add_argument("--zoom_margin", type=float, default=1.5)
    options = parser.parse_args()
    folder = Path(os.environ.get("MEDVOL_REAL_OTHER", "../shared/real_other"))
    kits = Path(os.environ.get("MEDVOL_REAL_CT", "../shared/real_ct")) / "kits_2d_slice"
    propagator = SlicePropagator(load_medsam2(options.medsam2), zoom_margin=options.zoom_margin)
    torch.manual_seed(0)
    groups: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*do not look like HU")
        for case in tqdm([*volumes(folder), *images(folder, kits, Path(scratch))], leave=False):
            groups.setdefault(case.group, []).append(dices(case, propagator, options.num_slices, options.size))
    print(f"| image and target | n | {' | '.join(f'Dice, true {name}' for name in _PROMPTS)} |")
    print("|---|---" + "|---" * len(_PROMPTS) + "|")
    for group, rows in groups.items():
        means = (f"{np.mean([row[name] for row in rows]):.3f}" for name in _PROMPTS)
        print(f"| {group} | {len(rows)} | {' | '.join(means)} |")


if __name__ == "__main__":
    main()

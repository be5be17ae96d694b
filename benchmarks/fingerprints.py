"""Whether fingerprints find the copies of scans, and join nothing else, on a folder of real volumes.

    python benchmarks/fingerprints.py "FOLDER/*_ct.nii.gz"

Each volume is changed in the ways in which data sets change it, and compared with its original: how many are found, and
the least share of the hashes that can be shared. Then all volumes are compared with each other.
"""

from __future__ import annotations

import argparse
import glob
import time
from collections.abc import Callable

import numpy as np
from medvol_r1.preparation.fingerprint import fingerprint, same_patient, same_patients, shared_part
from medvol_r1.volume.io import read_volume

COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flipped, axes exchanged": lambda image: image[::-1, :, ::-1].transpose(2, 0, 1),
    "half of its slices": lambda image: image[:, :, image.shape[2] // 4 : 3 * image.shape[2] // 4],
    "a tenth less on each side": lambda image: image[tuple(slice(n // 10, n - n // 10) for n in image.shape)],
    "+ 1024, unsigned": lambda image: (image.clip(-1024) + 1024).astype(np.uint16),
    "clipped to -200..300": lambda image: image.clip(-200, 300),
    "z-scores": lambda image: ((image - image.mean()) / image.std()).astype(np.float32),
}


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Measure what fingerprints find, and what they join by mistake.")
    parser.add_argument("volumes", help='a pattern of NIfTI files of different scans, as "FOLDER/*.nii.gz"')
    files = sorted(glob.glob(parser.parse_args().volumes))
    prints, seconds = {}, 0.0
    found = {name: 0 for name in COPIES}
    least = {name: 1.0 for name in COPIES}
    for file in files:
        image, _ = read_volume(file)
        start = time.process_time()
        prints[file] = fingerprint(image)
        seconds += time.process_time() - start
        for name, change in COPIES.items():
            copy = fingerprint(change(image))
            found[name] += same_patient(prints[file], copy)
            least[name] = min(least[name], shared_part(prints[file], copy))
    print(f"{len(files)} volumes, {seconds / max(1, len(files)):.2f} CPU seconds each\n")
    print("| copy | found | least share of hashes |\n|---|---|---|")
    for name in COPIES:
        print(f"| {name} | {found[name]} of {len(files)} | {least[name]:.2f} |")
    joined = same_patients(prints)
    print(f"\n{len(joined)} of {len(files) * (len(files) - 1) // 2} pairs of different volumes are joined")
    for pair in joined:
        print(*pair)


if __name__ == "__main__":
    main()

"""The demo MedSAM2 for slices of another size, with the same weights: what the small experiments propagate with.

    python benchmarks/resized_medsam2.py --medsam2 bundle/models/medsam2 --image_size 64 --output_dir runs/medsam2_64

Its image encoder interpolates its position table and its windows follow the size, so no weight has another shape. At 64
instead of 96 pixels a box costs less than half as much, and is followed less well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.weights import load_medsam2


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="The demo MedSAM2 at another size, with the same weights.")
    parser.add_argument("--medsam2", default="bundle/models/medsam2", help="folder of the model")
    parser.add_argument("--image_size", type=int, default=64, help="side of its input in pixels")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    resized = build_tiny_medsam2(options.image_size)
    resized.load_state_dict(load_medsam2(options.medsam2).state_dict())
    resized.save_pretrained(options.output_dir)
    print(f"wrote {options.output_dir}")


if __name__ == "__main__":
    main()

"""The demo language model on test phantoms, beside an image-free prior.

    python benchmarks/demo_lvlm.py --lvlm bundle/models/lvlm --volumes 64 --output bundle/docs/tables/demo_lvlm.md

Each phantom is asked in wordings of the training split and, anew, in wordings that training never had. The prior
knows what each query refers to and answers with the median key slice and the median boxes of that target over training
phantoms, without seeing the image. Which weights to ship is decided with `--split validation`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.evaluation.median_prior import MedianPrior
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.phantom.scan import SUBSETS
from medvol_r1.training.validation import score_anchor
from tqdm import tqdm

WORDINGS = ("seen wordings", "unseen wordings")


def examples(volumes: PhantomVolumes) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask [S, H, W] of each query's target."""
    for index in tqdm(range(len(volumes)), desc="prior", leave=False):
        item = volumes[index]
        yield from zip(item.targets, item.masks.numpy(), strict=True)


def score(
    lvlm: VolumeLVLM, prior: MedianPrior, split: str, volumes: int, size: int, slices: int
) -> list[dict[str, object]]:
    """A row for each query of a split's phantoms."""
    rows = []
    for subset in SUBSETS:
        for wording, name in zip(("train", split), WORDINGS, strict=True):
            phantoms = PhantomVolumes(split, volumes, slices, size, [subset], paraphrases=wording)
            for index in tqdm(range(volumes), desc=f"{subset}, {name}", leave=False):
                item = phantoms[index]
                answers = lvlm.generate(item.slices, item.texts)
                for target, mask, (answer,) in zip(item.targets, item.masks.numpy(), answers, strict=True):
                    row = {"subset": subset, "wording": name, "target": target, "present": bool(mask.any())}
                    rows.append(
                        row | score_anchor(answer.text, mask) | _prefixed(prior.anchor(target, len(mask)), mask)
                    )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: all, each wording, each subset, each target."""
    groups = {"all": rows}
    groups |= {name: [row for row in rows if row["wording"] == name] for name in WORDINGS}
    for subset in SUBSETS:
        groups[f"`{subset}`"] = [row for row in rows if row["subset"] == subset]
        for name in WORDINGS:
            groups[f"`{subset}`, {name}"] = [row for row in groups[f"`{subset}`"] if row["wording"] == name]
    for target in sorted({str(row["target"]) for row in rows}):
        groups[target] = [row for row in rows if row["target"] == target]
    lines = [
        "| queries | n | format rate | R_a | box IoU | prior R_a | prior box IoU | absent n | absent found absent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        present = [row for row in group if row["present"]]
        absent = [row for row in group if not row["present"]]
        values = [_mean(present, key) for key in ("R_a", "box_iou", "prior R_a", "prior box_iou")]
        lines.append(
            f"| {name} | {len(present)} | {_mean(group, 'format_rate')} | {' | '.join(values)} "
            f"| {len(absent)} | {_mean(absent, 'absent_accuracy')} |"
        )
    return "\n".join(lines)


def _prefixed(anchor: EvidenceAnchor, mask: np.ndarray) -> dict[str, float]:
    return {f"prior {name}": value for name, value in score_anchor(format_completion(anchor), mask).items()}


def _mean(rows: list[dict[str, object]], key: str) -> str:
    return f"{np.mean([row[key] for row in rows]):.3f}" if rows else "-"


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Score the demo language model on phantoms.")
    parser.add_argument("--lvlm", default="bundle/models/lvlm", help="folder of the model")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="of the phantoms")
    parser.add_argument("--volumes", type=int, default=64, help="phantoms of each subset")
    parser.add_argument("--prior_volumes", type=int, default=300, help="training phantoms behind the prior")
    parser.add_argument("--size", type=int, default=128, help="side of a slice in pixels")
    parser.add_argument("--slices", type=int, default=32, help="shown slices")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    volumes = PhantomVolumes("train", options.prior_volumes, options.slices, options.size)
    prior = MedianPrior.fit(examples(volumes))
    lvlm = VolumeLVLM(options.lvlm, slice_size=options.size, max_new_tokens=256).load()
    text = table(score(lvlm, prior, options.split, options.volumes, options.size, options.slices))
    print(text)
    if options.output:
        command = f"python benchmarks/demo_lvlm.py --lvlm {options.lvlm} --volumes {options.volumes}"
        command += f" --split {options.split}" if options.split != "test" else ""
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f"Printed by `{command}`.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

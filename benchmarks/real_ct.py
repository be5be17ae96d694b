"""The demo models on real CT: OpenKBP's validation patients and TotalSegmentator's example, target by target.

    python benchmarks/real_ct.py --openkbp openkbp --totalsegmentator example_ct --output_dir runs/real_ct

makes the datalists (`openkbp_datalist.py`, `totalsegmentator_datalist.py`), runs `evaluate.json` on them, which goes on
after an interruption, and prints for each target R_a, box IoU and DSC beside those of the image-free prior, and the DSC
from the true anchor. The prior of OpenKBP is fitted to its training patients, that of the example to phantoms of every
field of view. One of the two folders is enough. What follows `--` goes to `evaluate.json`: `-- --lvlm_path FOLDER`.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from medvol_r1.anchor import format_completion
from medvol_r1.datasets.volume_cases import VolumeCaseDataset, read_volume_cases
from medvol_r1.evaluation.fit_median_prior import listed_examples
from medvol_r1.evaluation.median_prior import MedianPrior, prior_name
from medvol_r1.evaluation.tables import table
from medvol_r1.training.validation import score_anchor
from monai.bundle import ConfigParser
from openkbp_datalist import openkbp_lists
from totalsegmentator_datalist import totalsegmentator_list

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [str(ROOT / "bundle" / "configs" / name) for name in ("inference.json", "evaluate.json")]
ABDOMEN = ("liver", "spleen", "right kidney", "left kidney", "bladder")
COLUMNS = {
    "R_a": "R_a",
    "prior R_a": "prior_R_a",
    "box IoU": "box_iou",
    "prior box IoU": "prior_box_iou",
    "DSC": "DSC",
    "prior DSC": "prior_DSC",
    "DSC from the true anchor": "oracle_anchor_DSC",
}

Row = Mapping[str, float | str]


def evaluate(datalist: Path, prior: Path, output_dir: Path, options: Sequence[str]) -> list[Row]:
    """Runs `evaluate.json`; a row for each question: `target` and the values of `COLUMNS`."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", repr(CONFIGS)]
    command += ["--bundle_root", str(ROOT / "bundle"), "--datalist", str(datalist), "--output_dir", str(output_dir)]
    command += ["--bounds", "['oracle_anchor','prior']", "--prior", str(prior), *options]
    subprocess.run(command, check=True)
    grounding = prior_grounding(datalist, MedianPrior.load(prior))
    with (output_dir / "per_query.csv").open(encoding="utf-8", newline="") as file:
        return [{"target": row["target"]} | _numbers(row) | grounding[row["case"]] for row in csv.DictReader(file)]


def prior_grounding(datalist: Path, prior: MedianPrior) -> dict[str, dict[str, float]]:
    """R_a and box IoU of the prior's answers on the slices that `evaluate.json` shows, by case."""
    sys.path.insert(0, str(ROOT / "bundle"))
    parser = ConfigParser()
    parser.read_config(CONFIGS)
    scores = {}
    volumes = VolumeCaseDataset(read_volume_cases(datalist, ""), parser.get_parsed_content("preprocessing"))
    for item in volumes:
        for query, target in zip(item["queries"], item["targets"], strict=True):
            anchor = prior.anchor(prior_name(query), len(target.shown))
            score = score_anchor(format_completion(anchor), target.shown)
            scores[query["case"]] = {"prior_R_a": score["R_a"], "prior_box_iou": score["box_iou"]}
    return scores


def target_table(rows: Sequence[Row], groups: Mapping[str, Sequence[str]]) -> str:
    """Markdown: each target, the mean of all questions, and the mean of the targets' means, of all and of groups.

    Args:
        rows: see `evaluate`.
        groups: names of targets under a heading, each a further mean of the targets' means.
    """
    targets = sorted({str(row["target"]) for row in rows})
    means = {target: _means([row for row in rows if row["target"] == target]) for target in targets}
    lines = [[target, str(sum(row["target"] == target for row in rows)), *_cells(means[target])] for target in targets]
    lines.append(["mean of all questions", str(len(rows)), *_cells(_means(rows))])
    for name, members in {"macro, all targets": targets, **groups}.items():
        known = [means[target] for target in members if target in means]
        if known:
            lines.append([f"**{name}**", str(len(known)), *_cells(np.mean(known, axis=0))])
    return table(["target", "n", *COLUMNS], lines)


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """What the evaluation wrote of a question; a failed answer has an empty cell, which counts as 0."""
    return {key: float(row[key] or 0) for key in COLUMNS.values() if key in row}


def _means(rows: Sequence[Row]) -> np.ndarray:
    return np.array([[float(row[key]) for key in COLUMNS.values()] for row in rows]).mean(axis=0)


def _cells(values: np.ndarray) -> list[str]:
    return [f"{value:.3f}" for value in values]


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Score the demo models on real CT.")
    parser.add_argument("--openkbp", type=Path, help="folder with train and validation")
    parser.add_argument("--totalsegmentator", type=Path, help="folder with the example's CT and labels")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("evaluate_options", nargs="*", help="after `--`: options of evaluate.json")
    options = parser.parse_args()
    if not (options.openkbp or options.totalsegmentator):
        parser.error("give --openkbp, --totalsegmentator, or both")
    out = options.output_dir
    if options.openkbp:
        lists = openkbp_lists(options.openkbp, out / "lists", wordings=1, seed=0)
        prior = out / "openkbp_prior.json"
        MedianPrior.fit(listed_examples(lists["train"])).save(prior)
        rows = evaluate(lists["test"], prior, out / "openkbp", options.evaluate_options)
        print(f"OpenKBP, validation patients\n\n{target_table(rows, {})}\n")
    if options.totalsegmentator:
        datalist = totalsegmentator_list(options.totalsegmentator, out / "lists" / "totalsegmentator.json", 1, 0)
        prior = ROOT / "bundle" / "models" / "median_prior.json"
        rows = evaluate(datalist, prior, out / "totalsegmentator", options.evaluate_options)
        print(f"TotalSegmentator's example\n\n{target_table(rows, {'macro, ' + ', '.join(ABDOMEN): ABDOMEN})}\n")


if __name__ == "__main__":
    main()

"""The paper's claim and tables in the small: its runs, how far they are, its tables. See bundle/docs/reproduction.md.

    python benchmarks/reproduction.py run --workers 2
    python benchmarks/reproduction.py status
    python benchmarks/reproduction.py tables --write

These are of the first experiment; `--plan benchmarks/claim.json` makes them of the second one, and
`--plan benchmarks/umrg.json` of single images (bundle/docs/medreasoner.md). The first command takes hours; the same
command again goes on where it was. The last one trains nothing: it reads the results in the repository, prints the
tables, and with `--write` puts them and the curves into the documents.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiment_plan import PlanError, read_plan
from image_tables import draw_image_curves, image_tables
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from reproduction_results import evaluation_result, gap_result, training_result
from reproduction_tables import MismatchError, all_tables, draw_curves
from run_queue import ROOT, ResultError, RunQueue

COLLECTORS = {"training": training_result, "evaluation": evaluation_result, "gap": gap_result}
DOCS = ROOT / "bundle" / "docs"
HEAD = """# {title}

Printed by `python benchmarks/reproduction.py tables --plan benchmarks/{name}.json --write`; what they mean, and what
was declared before: [{page}](../{page}).

"""
VOLUMES = ("The paper's tables in the small", "reproduction.md", all_tables, draw_curves)
IMAGES = ("Single images: SFT and GRPO on the miniature", "medreasoner.md", image_tables, draw_image_curves)


def status(queue: RunQueue) -> str:
    """A line for each run, and what is left."""
    waiting = {run.name for run in queue.to_do()}
    lines = []
    for run in queue.runs:
        result, attempts = queue.result(run), queue.attempts(run)
        minutes = queue.cpu_minutes(run) if result is None else result["cpu_minutes"]
        state = "finished" if result is not None or queue.is_whole(run) else "not needed any more"
        if run.name in waiting:
            state = "to do" if not attempts else "begun" if "started" in attempts[-1] else "to go on"
        lines.append(f"{run.name:28} {state:20} {minutes:7.1f} of about {run.minutes:g} CPU minutes")
    hours = sum(run.minutes for run in queue.runs if run.name in waiting) / 60
    return "\n".join([*lines, f"{len(waiting)} of {len(queue.runs)} runs to do, about {hours:.1f} CPU hours"])


def write_tables(queue: RunQueue, bootstrap: ClusterBootstrap, name: str, docs: Path | None) -> str:
    """The tables; with a folder of documents also `tables/<name>.md` and the picture of the curves there."""
    results = {run.name: result for run in queue.runs if (result := queue.result(run)) is not None}
    title, page, tables, curves = IMAGES if name == "umrg" else VOLUMES
    text = tables(results, bootstrap, [run.name for run in queue.runs])
    if docs is not None:
        for folder in ("tables", "images"):
            (docs / folder).mkdir(parents=True, exist_ok=True)
        head = HEAD.format(title=title, page=page, name=name)
        (docs / "tables" / f"{name}.md").write_text(head + text, encoding="utf-8")
        curves(results).savefig(docs / "images" / f"{name}_curves.png", dpi=90)
    return text


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="The paper's claim and tables in the small.")
    parser.add_argument("do", choices=("run", "status", "tables"))
    parser.add_argument("--plan", type=Path, default=ROOT / "benchmarks" / "reproduction.json", help="JSON")
    parser.add_argument("--output_dir", type=Path, help="folder of the runs (default runs/<plan>)")
    parser.add_argument("--results", type=Path, help="of the results (default bundle/docs/results/<plan>)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, a core each (default 1)")
    parser.add_argument("--samples", type=int, default=2000, help="bootstrap resamples of `tables` (default 2000)")
    parser.add_argument("--write", action="store_true", help="`tables` also writes the files of bundle/docs")
    options = parser.parse_args()
    name = options.plan.stem
    folder, results = options.output_dir or ROOT / "runs" / name, options.results or DOCS / "results" / name
    try:
        queue = RunQueue(read_plan(options.plan), folder, results, COLLECTORS, workers=options.workers)
        if options.do == "run":
            succeeded = queue.run()
            print("\n".join(f"{name}: {why}" for name, why in queue.failed.items()))
            sys.exit(not succeeded)
        if options.do == "status":
            print(status(queue))
        else:
            print(write_tables(queue, ClusterBootstrap(options.samples), name, DOCS if options.write else None))
    except (PlanError, ResultError, MismatchError, json.JSONDecodeError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

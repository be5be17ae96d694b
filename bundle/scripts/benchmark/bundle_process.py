"""Run another MONAI bundle on images, in a process of its own: `python -P bundle_process.py JOB.json`.

Its `scripts` are another package of the name of ours, and its code may crash; so this file is started by itself
(`bundle_runner`) and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow


def run_job(job: Mapping[str, Any]) -> None:
    """Infer the images one by one; one that fails leaves a note and does not stop the others.

    A workflow for each image: file names of images may be equal, and a bundle stops at its first error.

    Args:
        job: `bundle` (its folder), `config_files` (relative to it), `overrides` (of its config), `item` (what an item
            of its dataset has beside "image"), `images`: a list of `{"image": path, "folder": of its mask, "failure":
            path of the note}`. The note stands from the start, so that an end of the process is one as well.
    """
    os.chdir(job["bundle"])  # bundles name files relative to their folder
    sys.path.insert(0, job["bundle"])  # and import their scripts before MONAI makes them importable
    for each in job["images"]:
        folder, note = Path(each["folder"]), Path(each["failure"])
        _write(note, "process_ended", "the process ended while it ran; its log says more")
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            _infer(job, each["image"], unfinished)
        except Exception as error:  # whatever it is, the other images are still to be done
            traceback.print_exc()
            _write(note, "bundle_error", f"{type(error).__name__}: {error}")
            continue
        unfinished.rename(folder)
        note.unlink()


def _infer(job: Mapping[str, Any], image: str, folder: Path) -> None:
    """One image through the bundle's own workflow, which saves its mask in `folder`."""
    workflow = ConfigWorkflow(
        config_file=[str(Path(job["bundle"]) / name) for name in job["config_files"]],
        logging_file=False,
        workflow_type="infer",
        bundle_root=job["bundle"],
        output_dir=str(folder),
    )
    items: Sequence[Mapping[str, Any]] = [{"image": image, **job["item"]}]
    workflow.parser.update({"dataset#data": items, **job["overrides"]})
    if "num_workers" in workflow.parser.get("dataloader", {}):
        workflow.parser["dataloader#num_workers"] = 0  # one image: a worker would cost more than it saves
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def _write(note: Path, reason: str, message: str) -> None:
    note.write_text(json.dumps({"reason": reason, "message": message}), encoding="utf-8")


if __name__ == "__main__":
    run_job(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

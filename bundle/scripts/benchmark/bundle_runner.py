"""Masks of another MONAI bundle: run from its folder through the bundle API, one image at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..errors import ReasonedError
from ..volume.io import nifti_stem
from . import bundle_process

BUNDLE_FAILURES = ("no_bundle", "unfit_bundle", "bundle_error", "process_ended", "no_mask", "several_masks")


class BundleError(ReasonedError):
    """A bundle that cannot be run, or that left no mask; its reasons are BUNDLE_FAILURES."""

    reasons = BUNDLE_FAILURES


@dataclass(frozen=True, kw_only=True)
class BundleRunner:
    """Runs a bundle and finds what it saved.

    The bundle is a program: its config and scripts are executed. Run those that you trust.

    Attributes:
        bundle: folder of the bundle, which holds `configs`.
        config_files: relative to it; the later ones win. The stack must have `output_dir` and `dataset#data`, as the
            inference configs of the model zoo do.
        item: what an item of its dataset has beside "image", for example a label prompt.
        overrides: of keys of its config.
        output: files among those that a run saves that may be the mask.

    Raises:
        BundleError: "no_bundle": there is no such folder or config. "unfit_bundle": a key is missing.
    """

    bundle: Path
    config_files: tuple[str, ...] = ("configs/inference.json",)
    item: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    output: str = "**/*.nii*"

    def __post_init__(self) -> None:
        paths = [self.bundle / name for name in self.config_files]
        for path in paths:
            if not path.is_file():
                raise BundleError("no_bundle", f"there is no {path}; `bundle` names the folder that holds `configs`")
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in paths]))
        for key in ("output_dir", "dataset#data"):
            if key not in parser:
                raise BundleError(
                    "unfit_bundle", f"{paths[0]} has no {key!r}; so what it reads and writes cannot be set"
                )

    def run(self, images: Sequence[str], folder: Path) -> None:
        """Infer the images that have no mask under `folder` yet.

        Args:
            images: paths.
            folder: receives a folder for each image, and `log.txt`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for note in folder.glob("*.failure.json"):
            note.unlink()
        while waiting := [image for image in dict.fromkeys(images) if not self._is_over(image, folder)]:
            job = {
                "bundle": str(self.bundle.resolve()),
                "config_files": self.config_files,
                "item": dict(self.item),
                "overrides": dict(self.overrides),
                "images": [
                    {
                        "image": str(Path(image).resolve()),
                        "folder": str(self._folder(image, folder)),
                        "failure": str(self._note(image, folder)),
                    }
                    for image in waiting
                ],
            }
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            with open(folder / "log.txt", "a", encoding="utf-8") as log:
                command = [sys.executable, "-P", bundle_process.__file__, str(folder / "job.json")]
                subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
            # A process that ended early has left a note for the image that it was at; the others get a new process.
            if not self._is_over(waiting[0], folder):
                self._note_all(waiting, folder, "process_ended", f"its process did not start; see {log.name}")

    def mask_of(self, image: str, folder: Path) -> Path:
        """The mask that `run` left.

        Raises:
            BundleError: why there is none.
        """
        note = self._note(image, folder)
        if note.is_file():
            failure = json.loads(note.read_text(encoding="utf-8"))
            raise BundleError(failure["reason"], f"{self.bundle.name} on {image}: {failure['message']}")
        found = sorted(self._folder(image, folder).glob(self.output))
        if len(found) != 1:
            raise BundleError(
                "several_masks" if found else "no_mask",
                f"{self.bundle.name} saved {len(found)} files {self.output!r} for {image}"
                f"{': ' if found else ''}{', '.join(path.name for path in found)}; set `output` to the mask's name",
            )
        return found[0]

    def _note_all(self, images: Sequence[str], folder: Path, reason: str, message: str) -> None:
        for image in images:
            note = json.dumps({"reason": reason, "message": message})
            self._note(image, folder).write_text(note, encoding="utf-8")

    def _is_over(self, image: str, folder: Path) -> bool:
        return self._folder(image, folder).is_dir() or self._note(image, folder).is_file()

    def _folder(self, image: str, folder: Path) -> Path:
        """A folder of this image under these settings alone: file names repeat, and settings change between runs."""
        stem = nifti_stem(image)
        settings = [str(Path(image).resolve()), self.config_files, dict(self.item), dict(self.overrides)]
        return folder.resolve() / f"{stem}_{zlib.crc32(json.dumps(settings).encode()):08x}"

    def _note(self, image: str, folder: Path) -> Path:
        place = self._folder(image, folder)
        return place.with_name(place.name + ".failure.json")

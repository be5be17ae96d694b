"""The systems of a benchmark, from a JSON list: masks that were saved, or a bundle that is run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..json_list import read_json_list
from .bundle_runner import BundleRunner
from .saved_masks import MaskPart, SavedMasks

_NAME = re.compile(r"[\w(][\w .,()+-]{0,80}")  # it names a folder
_READING = ("labels", "grid", "void_values")
_SAVED = ("masks", "sidecar", "array", "axes", *_READING)
_BUNDLE = ("bundle", "config_files", "item", "overrides", "output", *_READING)


class SystemListError(ValueError):
    """A list of systems that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One column of a benchmark.

    Attributes:
        name: in tables, and of its folder.
        masks: how its masks are read.
        runner: makes them, for a bundle; None: they are there.
        folder: where the runner puts them.
    """

    name: str
    masks: SavedMasks
    runner: BundleRunner | None
    folder: Path

    def prepare(self, images: Sequence[str]) -> None:
        """Let a bundle infer the images that it has not inferred yet; its failures show in `place`."""
        if self.runner is not None:
            self.runner.run(images, self.folder)

    def parts(self, entry: Mapping[str, Any]) -> tuple[MaskPart, ...]:
        """See `SavedMasks.parts`.

        Raises:
            ReasonedError: `MaskError`, or `BundleError`: why the bundle left no mask.
        """
        masks = self.masks
        if self.runner is not None:
            masks = dataclasses.replace(masks, masks=str(self.runner.mask_of(entry["image"], self.folder)))
        return masks.parts(entry)


def read_systems(path: str | Path | None, output_dir: str | Path) -> list[System]:
    """The systems of a benchmark.

    Args:
        path: a JSON list. Each entry has `name` and, for saved masks, `masks` (and `labels`, `grid`, `sidecar`,
            `array`, `axes`, `void_values`: see `SavedMasks`), or, for a MONAI bundle, `bundle` (and `config_files`,
            `item`, `overrides`, `output`: see `BundleRunner`; and `labels`). Paths are relative to the list's folder.
        output_dir: bundles save under `<output_dir>/<name>/masks`.

    Raises:
        SystemListError: the list cannot be read, is empty, has a name twice, or an entry is not legal.
        BundleError: a bundle that is not there.
    """
    if path is None:
        raise SystemListError("no systems are given; add `--systems FILE.json`, see bundle/docs/benchmarking.md.")
    path = Path(path)
    wanted = "a JSON list of objects with a name and masks or a bundle"
    entries = read_json_list(path, "the list of systems", "config key `systems`", wanted, SystemListError)
    systems = [
        _system(entry, f"system {number} of {path}", path.parent, Path(output_dir))
        for number, entry in enumerate(entries, start=1)
    ]
    names = [system.name for system in systems]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SystemListError(f"{path} has the name {twice.pop()!r} twice; names must differ.")
    return systems


def _system(entry: Any, where: str, folder: Path, output_dir: Path) -> System:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not _NAME.fullmatch(entry["name"]):
        raise SystemListError(
            f"{where} needs a name that can name a folder: letters, digits, blanks and . , ( ) + - are legal."
        )
    where = f"{where} ({entry['name']})"
    if ("masks" in entry) == ("bundle" in entry):
        raise SystemListError(
            f"{where} needs `masks` (files that are there) or `bundle` (a MONAI bundle), one of them."
        )
    legal = _BUNDLE if "bundle" in entry else _SAVED
    unknown = [key for key in entry if key not in ("name", *legal)]
    if unknown:
        raise SystemListError(f"{where} has the key {unknown[0]!r}; legal are name, {', '.join(legal)}.")
    settings = {key: value for key, value in entry.items() if key in legal}
    for key in ("void_values", "config_files"):
        if key in settings:
            settings[key] = tuple(settings[key]) if isinstance(settings[key], list) else (settings[key],)
    runner = None
    if "bundle" in settings:
        runner = BundleRunner(
            bundle=folder / settings.pop("bundle"),
            **{key: settings.pop(key) for key in _BUNDLE if key in settings and key not in _READING},
        )
        settings["masks"] = ""
    try:
        masks = SavedMasks(folder=folder, **settings)
    except (TypeError, ValueError) as error:
        raise SystemListError(f"{where}: {error}.") from error
    return System(name=entry["name"], masks=masks, runner=runner, folder=output_dir / entry["name"] / "masks")

"""What was made of files on disk, kept on disk.

Not MONAI's `PersistentDataset`: it writes in the system's temporary folder and moves the file from there, so a worker
can meet a half written one, and a run ends at a file that was cut; it pickles; and it reads whole files, where what is
kept here is mapped, so that memory holds what is in use, however many volumes there are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

_logger = logging.getLogger(__name__)
# One more whenever the code makes other slices of the same files and settings.
_FORMAT = 1


class SliceCache:
    """A folder of `<key>.safetensors`; the key changes with anything that made the tensors.

    It may be shared by workers, processes and runs, and deleted at any time. Nothing is deleted by itself.

    Args:
        folder: made when the first tensors are kept; None keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def get(
        self, files: Iterable[str], settings: Mapping[str, Any], make: Callable[[], dict[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """What `make` returns, made once for these files as they are now and these settings.

        Args:
            files: what is read to make it; paths, sizes and times of change count. A folder counts with its files.
            settings: all else that it depends on, as JSON holds it.
            make: makes the tensors.

        Returns:
            The tensors, mapped from the file: do not change them in place.

        Raises:
            OSError: nothing can be written, as on a full disk.
        """
        if self.folder is None:
            return make()
        # Before making, so that a file that changes meanwhile is read again.
        kept = self.folder / f"{_key(files, settings)}.safetensors"
        if not kept.is_file():
            self._keep(make(), kept)
        try:
            return load_file(kept)
        except SafetensorError as error:
            _logger.warning("%s is damaged (%s) and is made anew", kept, error)
            self._keep(make(), kept)
            return load_file(kept)

    @staticmethod
    def _keep(tensors: dict[str, torch.Tensor], path: Path) -> None:
        """Written beside its place and renamed: whoever looks finds all of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise


def _key(files: Iterable[str], settings: Mapping[str, Any]) -> str:
    made_of = {"format": _FORMAT, "files": [_state(Path(file)) for file in files], "settings": settings}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> list[Any]:
    """What changes with a file; of one that is not there the path, whose reader says what is wrong."""
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [part.stat() for part in parts if part.is_file()]
    return [str(path.absolute()), *([state.st_size, state.st_mtime_ns] for state in states)]

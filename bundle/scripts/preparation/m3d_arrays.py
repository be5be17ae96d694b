"""The arrays of M3D-Seg: `image.npy` and a sparse mask whose shape stands in its file's name."""

from __future__ import annotations

import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy import sparse

from ..volume.failures import VolumeError
from .case_failures import CaseError

_SHAPE = re.compile(r"\((\d+(?:, ?\d+){3})\)\.npz$")


def read_arrays(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map of a case, in the order in which they are stored.

    Args:
        image: an npy of [1, A, B, C].
        label: an npz with a scipy matrix [channels, A * B * C]; `(channels, A, B, C)` is in its name.

    Returns:
        float32 [A, B, C], z-scores; and int32 [A, B, C], 0 or channel + 1. Where channels overlap the last one counts.

    Raises:
        VolumeError: "truncated_file", "non_finite_voxels", "label_mismatch".
        CaseError: "bad_array": no numeric array of that form.
    """
    voxels = _image(image)
    match = _SHAPE.search(label.name)
    if match is None:
        raise CaseError("bad_array", f"{label} does not say its shape, as mask_(4, 512, 512, 100).npz does")
    shape = tuple(int(length) for length in match[1].split(","))
    try:
        matrix = sparse.load_npz(label)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise VolumeError("truncated_file", f"{label} is damaged ({error}); download it again") from error
    if matrix.shape != (shape[0], int(np.prod(shape[1:]))):
        raise CaseError("bad_array", f"{label} holds {matrix.shape}, its name says {shape}; download it again")
    if voxels.shape != shape[1:]:
        raise VolumeError("label_mismatch", f"{image} has shape {voxels.shape}, {label} {shape[1:]}")
    values = np.zeros(int(np.prod(shape[1:])), np.int32)
    rows = matrix.tocsr()
    for channel in range(shape[0]):
        values[rows[channel].indices[rows[channel].data != 0]] = channel + 1
    return voxels, values.reshape(shape[1:])


def _image(path: Path) -> np.ndarray:
    try:
        voxels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VolumeError("truncated_file", f"{path} ends early or is no array ({error}); download it again") from error
    if voxels.ndim != 4 or voxels.shape[0] != 1 or voxels.dtype.kind not in "iuf":
        raise CaseError("bad_array", f"{path} is {voxels.dtype} {voxels.shape}; M3D's are float [1, A, B, C]")
    voxels = voxels[0].astype(np.float32)
    if not np.isfinite(voxels).all():
        raise VolumeError("non_finite_voxels", f"{path} has NaN or infinite voxels; download it again")
    return voxels

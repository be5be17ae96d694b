"""A service with small random models, and the studies that it opens."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
from medvol_r1.phantom.scan import LABELS, make_phantom
from medvol_r1.service.start import started_service
from tiny_models import save_random_models

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
SHAPE = (40, 36, 12)
# Left, posterior, superior, 5 x 5 x 8 mm; a study whose axes run otherwise is written by `write_study(axes=...)`.
AFFINE = np.diag([-5.0, -5.0, 8.0, 1.0])
# Valid answers of random weights, on few small slices.
SETTINGS = {
    "constrained": True,
    "max_new_tokens": 64,
    "temperature": 1.0,  # drawn by the text of the query: each has another answer, always the same
    "num_slices": 6,
    "slice_size": 32,
    "lvlm_slice_size": 32,
    "device": "cpu",
}


def write_study(path, seed=1_000_000):
    """A phantom as NIfTI beside its label map, `<name>_label.nii.gz` in the folder above."""
    phantom = make_phantom(seed, "organs", shape=SHAPE, canonical=True)
    nib.save(nib.Nifti1Image(phantom.image.round().astype(np.int16), AFFINE), path)
    return phantom


def truth_of(phantom, name):
    """bool [X, Y, Z]."""
    return phantom.label == next(value for value, label in LABELS.items() if label == name)


def small_service(folder, studies=None, memory_bytes=2**28, **settings):
    """A service whose weights lie in a folder; they are made if they are not there."""
    weights = folder / "weights"
    if not weights.is_dir():
        save_random_models(weights)
    paths = {"lvlm_path": str(weights / "lvlm"), "medsam2_path": str(weights / "medsam2")}
    configs = [BUNDLE / "configs" / "inference.json"]
    return started_service(configs, BUNDLE, studies, memory_bytes, {**SETTINGS, **paths, **settings})


def wait_for(request, seconds=60.0):
    """Waits until a request is over; returns it."""
    end = time.monotonic() + seconds
    while not request.is_over:
        assert time.monotonic() < end, f"the request is {request.state} after {seconds} s"
        time.sleep(0.005)
    return request


def answered(service, study, query, name=None):
    """Asks, waits, and returns the mask that came of it."""
    request = wait_for(service.ask(study.owner, study.id, query, name))
    assert request.state == "done", request.error
    return study.mask(request.mask)

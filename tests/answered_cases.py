"""An answered case for tests: volume, geometry, evidence and record."""

import nibabel as nib
import numpy as np
from medvol_r1.report.case_files import AnsweredCase
from medvol_r1.report.evidence_record import evidence_record
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps

# Array axes to R, A, S; 2 x 2 x 5 mm: a voxel has 0.02 ml.
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
SHAPE = (12, 10, 8)


def geometry_meta(affine=AFFINE, shape=SHAPE, source_index=(0, 2, 4, 6)):
    return {
        "source_shape": np.array(shape),
        "source_affine": affine,
        "orientation": orientation_to_lps(affine),
        "source_index": np.array(source_index),
    }


def evidence(**changes):
    """As the inferer leaves it in the mask's meta data."""
    plain = {"status": "ok", "detail": "", "completion": "<think>because</think>...", "think": "because"}
    plain |= {"key_index": 1, "boxes_1000": [[0, 0, 500, 500]], "boxes_px": [[0.0, 0.0, 64.0, 64.0]], "seconds": {}}
    return plain | changes


def nine_voxels():
    """uint8 [X, Y, Z]."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 2:5, 3] = 1
    return mask


def record_of(query="the liver", affine=AFFINE, image="ct.nii.gz", **changes):
    """The record of `nine_voxels`."""
    meta = geometry_meta(affine) | {"filename_or_obj": image}
    return evidence_record(evidence(**changes), nine_voxels(), meta, query=query, weights={"lvlm": "folder"})


def write_volume(folder):
    """Writes a volume of noise; returns its path."""
    voxels = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def answered_case(folder, name="a", **changes):
    """A case about a volume in the folder."""
    record = record_of(image=str(write_volume(folder)))
    geometry = SliceGeometry.from_meta(geometry_meta())
    return AnsweredCase(**{"name": name, "record": record, "mask": nine_voxels(), "geometry": geometry} | changes)

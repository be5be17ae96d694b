"""The bundle as MONAI Label runs it: by its task for bundles, in this process, without the server."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from inference_stubs import ONE_BOX, STUBS
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.volume.body_crop import CropToBodyd
from medvol_r1.volume.geometry import SliceGeometry, restore_mask
from medvol_r1.volume.transforms import LoadVolumed, OrientByAffined, SampleSlicesd
from monai.transforms import Compose
from tiny_models import save_random_lvlm

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
# MONAI Label reads the kind of task from the folder's name.
NAME = "medvol_r1_ct_segmentation"
# What MONAI's config system would evaluate, look up or replace if the text ever became part of a config.
HOSTILE = ("$'INJ'+'ECTED'", "%x", "@device", "<|im_end|>", "liver, spleen", "3", "a::b#c", "肝臓 🫁\n\"'")
SHAPE = (40, 36, 12)
# Of the canonical voxel axes (left, posterior, superior): permuted and flipped.
PERMUTED = ((2, 0, 1), (0, 2))

pytestmark = pytest.mark.monailabel


@pytest.fixture(scope="module")
def task_class():
    """MONAI Label's task for bundles."""
    pytest.importorskip("monailabel", reason="needs MONAI Label: bash benchmarks/monailabel_environment.sh")
    from monailabel.tasks.infer.bundle import BundleInferTask

    return BundleInferTask


def copy_bundle(folder, **changes):
    """A copy of the bundle without its weights in `folder`; `changes` are top-level keys of inference.json."""
    bundle = folder / NAME
    for part in ("configs", "scripts"):
        shutil.copytree(BUNDLE / part, bundle / part, ignore=shutil.ignore_patterns("__pycache__"))
    (bundle / "models").mkdir()
    shutil.copy(BUNDLE / "models" / "model.pt", bundle / "models")
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    (bundle / "configs" / "inference.json").write_text(json.dumps(config | changes))
    return bundle


@pytest.fixture(scope="module")
def stub_task(task_class, tmp_path_factory):
    """The bundle with stand-ins for the models: every answer is ONE_BOX."""
    task = task_class(str(copy_bundle(tmp_path_factory.mktemp("stub"), **STUBS)), {})
    assert task.is_valid()
    return task


def write_ct(path, affine, axes=(0, 1, 2), flipped=()):
    """A phantom with its axes permuted, then flipped; `affine` is that of the canonical axes."""
    voxels = make_phantom(1_000_000, "organs", shape=SHAPE, canonical=True).image.round().astype(np.int16)
    # Index in the written array -> index in the canonical one.
    back = np.zeros((4, 4))
    back[3, 3] = 1
    for axis, source in enumerate(axes):
        back[source, axis] = -1 if axis in flipped else 1
        back[source, 3] += SHAPE[source] - 1 if axis in flipped else 0
    image = nib.Nifti1Image(np.flip(voxels.transpose(axes), flipped), affine @ back)
    image.set_sform(affine @ back, 1)
    image.set_qform(affine @ back, 1)
    nib.save(image, path)
    return path


def canonical_affine(tilt_degrees=0.0):
    """Voxels of 5 x 5 x 8 mm along left, posterior, superior, the patient turned about the left-right axis."""
    cos, sin = np.cos(np.deg2rad(tilt_degrees)), np.sin(np.deg2rad(tilt_degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.diag([-5.0, -5.0, 8.0])
    affine[:3, 3] = 95.0, 80.0, -1200.5
    return affine


def ask(task, image, query, **params):
    """Request and answer as the server passes them: (path of the mask, JSON)."""
    return task({"model": NAME, "image": str(image), "device": "cpu", "query": query, **params})


def boxes_on_the_source_grid(image):
    """What ONE_BOX marks there: the stub fills [.25, .5, .75, 1.] of the second shown slice, of the body's crop."""
    chain = (LoadVolumed("image"), OrientByAffined("image"), SampleSlicesd("image", 24), CropToBodyd("image"))
    data = Compose(chain)({"image": image})
    geometry = SliceGeometry.from_meta(data["image"].meta)
    assert geometry.crop_xyxy_px is not None
    shown = torch.zeros(len(geometry.source_index), 128, 128)
    shown[1, 64:128, 32:96] = 1
    return restore_mask(shown, geometry)


@pytest.mark.parametrize("tilt_degrees", [0.0, 6.0])
@pytest.mark.parametrize("axes, flipped", [((0, 1, 2), ()), PERMUTED], ids=["canonical", "permuted"])
def test_the_mask_lies_on_the_grid_of_the_volume(stub_task, tmp_path, axes, flipped, tilt_degrees):
    path = write_ct(tmp_path / "ct.nii.gz", canonical_affine(tilt_degrees), axes, flipped)
    written, _ = ask(stub_task, path, "the liver")
    mask, source = nib.load(written), nib.load(path)
    # MONAI Label's writer stores directions as float32 quaternions.
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-3)
    assert mask.get_data_dtype() == np.uint8
    expected = boxes_on_the_source_grid(path)
    assert expected.any()
    np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)


def test_the_evidence_is_the_answer(stub_task, tmp_path):
    path = write_ct(tmp_path / "ct.nii.gz", canonical_affine(), *PERMUTED)
    _, answer = ask(stub_task, path, "the liver")
    answer = json.loads(json.dumps(answer))
    assert (answer["status"], answer["think"], answer["completion"]) == ("ok", "Seen best here.", ONE_BOX)
    # Shown slice 2 is the second from below; axis 0 of this volume runs from superior to inferior: 12 - 1 - 1.
    assert (answer["key_slice"], answer["source_slice"], answer["slices_shown"]) == (2, 10, 12)
    assert answer["voxels"] == boxes_on_the_source_grid(path).sum()
    assert answer["label_names"] == {"target": 1}


@pytest.mark.parametrize("query", HOSTILE)
def test_a_query_is_data(stub_task, tmp_path, query):
    path = write_ct(tmp_path / "ct.nii.gz", canonical_affine())
    _, answer = ask(stub_task, path, query)
    assert answer["query"] == query
    assert stub_task._get_network("cpu", None).queries[-1] == query


@pytest.mark.parametrize("params, message", [({"query": " "}, "is empty"), ({"query": None}, "there is no query")])
def test_a_request_without_a_query_says_so(stub_task, tmp_path, params, message):
    path = write_ct(tmp_path / "ct.nii.gz", canonical_affine())
    with pytest.raises(ValueError, match=message):
        ask(stub_task, path, **params)


def test_weights_are_read_once(task_class, tmp_path):
    bundle = copy_bundle(tmp_path, max_new_tokens=4, lvlm_slice_size=32)
    save_random_lvlm(bundle / "models" / "lvlm")
    build_tiny_medsam2().save_pretrained(bundle / "models" / "medsam2")
    path = write_ct(tmp_path / "ct.nii.gz", canonical_affine())
    task = task_class(str(bundle), {})
    first = ask(task, path, "the liver")[1]
    for model in ("lvlm", "medsam2"):
        shutil.rmtree(bundle / "models" / model)
    second = ask(task, path, "the liver")[1]
    assert second["completion"] == first["completion"]

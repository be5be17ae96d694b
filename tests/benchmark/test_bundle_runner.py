"""Another bundle, run by the bundle API in a process of its own: what it saves, and what goes wrong."""

import json

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.benchmark.bundle_runner import BundleError, BundleRunner
from medvol_r1.phantom.scan import make_phantom
from other_bundle import write_spleen_bundle

CUT = """
import os
import sys

class Cutd:
    \"\"\"The process dies on a volume of 20 slices.\"\"\"

    def __call__(self, data):
        assert "medvol_r1" not in sys.modules
        if data["image"].shape[-1] == 20:
            os._exit(3)
        return data
"""


def write_image(folder, seed=2_000_000, slices=12):
    folder.mkdir(parents=True)
    phantom = make_phantom(seed, "organs", shape=(48, 48, slices))
    nib.save(nib.Nifti1Image(phantom.image.astype(np.int16), phantom.affine), folder / "ct.nii.gz")
    return str(folder / "ct.nii.gz")


@pytest.fixture
def images(tmp_path):
    """Two volumes with one file name, and between them one that is none."""
    first, last = write_image(tmp_path / "a"), write_image(tmp_path / "c", 2_000_001)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ct.nii.gz").write_bytes(b"nothing")
    return [first, str(tmp_path / "b" / "ct.nii.gz"), last]


def test_masks_on_the_grid_of_their_images(tmp_path, images):
    runner = BundleRunner(bundle=write_spleen_bundle(tmp_path / "spleen"))
    runner.run(images, tmp_path / "out")
    written = {}
    for image in (images[0], images[2]):
        mask = nib.load(runner.mask_of(image, tmp_path / "out"))
        assert mask.shape == nib.load(image).shape
        np.testing.assert_allclose(mask.affine, nib.load(image).affine, atol=1e-4)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
        written[image] = runner.mask_of(image, tmp_path / "out").stat().st_mtime_ns
    assert runner.mask_of(images[0], tmp_path / "out") != runner.mask_of(images[2], tmp_path / "out")
    with pytest.raises(BundleError, match=r"spleen on .*b/ct\.nii\.gz: ") as caught:
        runner.mask_of(images[1], tmp_path / "out")
    assert caught.value.reason == "bundle_error"
    # again: what is there stays, what failed is tried once more
    runner.run(images, tmp_path / "out")
    for image, time in written.items():
        assert runner.mask_of(image, tmp_path / "out").stat().st_mtime_ns == time
    with pytest.raises(BundleError):
        runner.mask_of(images[1], tmp_path / "out")


def test_a_process_that_dies_costs_one_image(tmp_path):
    """In a RAS volume of 4 mm: 20 slices of the network are what 80 mm are."""
    images = [write_image(tmp_path / name, slices=12) for name in ("a", "b")]
    thick = np.diag([3.0, 3, 4, 1])
    nib.save(nib.Nifti1Image(np.zeros((32, 32, 20), np.int16), thick), tmp_path / "a" / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((32, 32, 12), np.int16), thick), tmp_path / "b" / "ct.nii.gz")
    runner = BundleRunner(bundle=write_spleen_bundle(tmp_path / "spleen", CUT))
    runner.run(images, tmp_path / "out")
    with pytest.raises(BundleError, match="the process ended while it ran") as caught:
        runner.mask_of(images[0], tmp_path / "out")
    assert caught.value.reason == "process_ended"
    assert nib.load(runner.mask_of(images[1], tmp_path / "out")).shape == (32, 32, 12)


def test_overrides_and_the_items_other_keys_reach_the_bundle(tmp_path):
    image = write_image(tmp_path / "a")
    bundle = write_spleen_bundle(tmp_path / "spleen")
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    config["postfix"] = "trans"
    config["postprocessing"]["transforms"][-1]["output_postfix"] = "@postfix"
    config["run"].append("$print('prompt', @dataset.data[0]['label_prompt'])")
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    runner = BundleRunner(bundle=bundle, item={"label_prompt": [3]}, overrides={"postfix": "other"})
    runner.run([image], tmp_path / "out")
    assert runner.mask_of(image, tmp_path / "out").name == "ct_other.nii.gz"
    assert "prompt [3]" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("saved", "reason", "message"),
    [([], "no_mask", "saved 0 files"), (["a.nii.gz", "b.nii"], "several_masks", "a.nii.gz, b.nii; set `output`")],
)
def test_a_run_must_leave_one_mask(tmp_path, saved, reason, message):
    runner = BundleRunner(bundle=write_spleen_bundle(tmp_path / "spleen"))
    folder = runner._folder("ct.nii.gz", tmp_path / "out")
    folder.mkdir(parents=True)
    for name in saved:
        (folder / name).touch()
    with pytest.raises(BundleError, match=message) as caught:
        runner.mask_of("ct.nii.gz", tmp_path / "out")
    assert caught.value.reason == reason


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="names the folder that holds `configs`") as caught:
        BundleRunner(bundle=tmp_path / "nowhere")
    assert caught.value.reason == "no_bundle"
    bundle = write_spleen_bundle(tmp_path / "spleen")
    (bundle / "configs" / "inference.json").write_text('{"output_dir": "x"}')
    with pytest.raises(BundleError, match="has no 'dataset#data'") as caught:
        BundleRunner(bundle=bundle)
    assert caught.value.reason == "unfit_bundle"

"""Volumes with label maps from a list, as pools of clips; and fine-tuning MedSAM2 on them."""

import json
import logging
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.datasets.datalist import DatalistError
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.propagator_training import labelled_volumes
from medvol_r1.propagator_training.clips import ClipLoader
from medvol_r1.propagator_training.labelled_volumes import listed_label_volumes
from medvol_r1.volume.io import VolumeError
from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
STACK = [str(BUNDLE / "configs" / name) for name in ("train_propagator.json", "medsam2_t512.json")]


def save(path, voxels, affine=None):
    affine = np.diag([2.0, 2, 5, 1]) if affine is None else affine
    nib.save(nib.Nifti1Image(voxels, affine), path)


def save_case(folder, shape=(40, 48, 9), name="ct"):
    """Air, a block of 40 HU with label 300 on slices 2..6, and beside it one of 140 HU with label 7 on slices 1..3."""
    image, label = np.full(shape, -1000, np.int16), np.zeros(shape, np.int16)
    image[8:20, 6:18, 2:7], label[8:20, 6:18, 2:7] = 40, 300
    image[24:36, 24:36, 1:4], label[24:36, 24:36, 1:4] = 140, 7
    save(folder / f"{name}.nii.gz", image)
    save(folder / f"{name}_label.nii.gz", label)
    return {"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz"}


def write_list(folder, entries, name="train.json"):
    (folder / name).write_text(json.dumps(entries))
    return folder / name


def read(datalist, **changes):
    return listed_label_volumes(datalist, **({"num_slices": 9, "slice_size": 48} | changes))


def test_a_volume_is_read_as_the_pipeline_shows_it(tmp_path):
    (pool,) = read(write_list(tmp_path, [save_case(tmp_path)]))
    assert pool.labels.shape == pool.images.shape == (1, 9, 48, 48) and pool.first_label == 1
    # RAS: column c of 40 is x = 39 - c, stretched by 48 / 40; row r of 48 is y = 47 - r. x 8..20 -> 20..32 -> 24..38.4.
    where = (pool.labels[0] == 2).nonzero()
    assert where.amin(0).tolist() == [2, 30, 24] and where.amax(0).tolist() == [6, 41, 37]
    assert (pool.labels[0] == 1).any((1, 2)).nonzero().flatten().tolist() == [1, 2, 3]
    # 40 HU in -160..240: 255 * 200 / 400 = 127.5, rounded to even; 140 HU: 255 * 300 / 400
    assert pool.images[0, 4, 36, 30] == 128 and pool.images[0, 2, 18, 9] == 191 and pool.images[0, 0].max() == 0


def test_label_values_choose_and_entries_of_a_file_add_up(tmp_path):
    entry = save_case(tmp_path)
    (only,) = read(write_list(tmp_path, [entry | {"label_values": [300], "query": "read by others"}]))
    assert only.labels.unique().tolist() == [0, 1] and not only.labels[0, 1].any()
    (both,) = read(write_list(tmp_path, [entry | {"label_values": [300]}, entry | {"label_values": [7]}]))
    (every,) = read(write_list(tmp_path, [entry | {"label_values": [300]}, entry]))
    assert torch.equal(both.labels, every.labels) and both.labels.unique().tolist() == [0, 1, 2]


def test_volumes_without_use_are_left_out_with_a_warning(tmp_path, caplog):
    entries = [save_case(tmp_path), save_case(tmp_path, (40, 48, 8), "thin"), save_case(tmp_path, name="empty")]
    entries[2]["label_values"] = [5]
    with caplog.at_level(logging.WARNING):
        assert len(read(write_list(tmp_path, entries), min_slices=9)) == 1
    thin = f"{tmp_path / 'thin.nii.gz'} with {tmp_path / 'thin_label.nii.gz'}"
    assert f"{thin} is left out: it has 8 slices, 9 are needed" in caplog.text
    assert "empty_label.nii.gz is left out: nothing is marked" in caplog.text
    with pytest.raises(DatalistError, match="no volume of .*train.json can be used"):
        read(write_list(tmp_path, entries[2:]))


def test_kept_voxels_are_those_that_are_read(tmp_path, monkeypatch):
    entry = save_case(tmp_path)
    datalist = write_list(tmp_path, [entry])
    (fresh,), cache = read(datalist), tmp_path / "cache"
    kept = [read(datalist, cache_dir=cache)[0]]
    chosen = write_list(tmp_path, [entry | {"label_values": [300]}], "chosen.json")
    assert read(chosen, cache_dir=cache)[0].labels.max() == 1 and len(list(cache.iterdir())) == 2
    monkeypatch.setattr(labelled_volumes, "shown_volume", None)
    kept += read(datalist, cache_dir=cache)
    for pool in kept:
        assert torch.equal(pool.labels, fresh.labels) and torch.equal(pool.images, fresh.images)
        assert pool.labels.dtype == pool.images.dtype == torch.uint8 and pool.first_label == 1


def test_clips_are_cut_from_them(tmp_path):
    pools = read(
        write_list(tmp_path, [save_case(tmp_path), save_case(tmp_path, (40, 48, 12), "deeper")]), num_slices=12
    )
    loader = ClipLoader(
        pools, [1, 1], clips=2, objects=2, size=48, epoch_length=8, max_epochs=1, clip_lengths=[3], min_clips=1
    )
    batches = list(loader)
    assert all(batch["image"].shape == (1, 3, 48, 48) for batch in batches)
    assert any(batch["masks"][:, :, 0].any() for batch in batches)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read.*train_datalist"),
        ("{", "not JSON"),
        ("{}", "holds dict; give a JSON list"),
        ('[{"image": "a"}]', 'entry 1 of .* has no "label"'),
        ('["a"]', "entry 1 of .* is 'a'; give an object"),
        ('[{"image": "a", "label": "b", "label_values": "7"}]', "\"label_values\" of entry 1 of .* is '7'"),
        ('[{"image": "a", "label": "train.json"}]', "1 of the 2 files of the list of volumes"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    if text is not None:
        (tmp_path / "train.json").write_text(text)
    with pytest.raises(DatalistError, match=message):
        read(tmp_path / "train.json")


def test_a_label_off_its_image_names_the_reason(tmp_path):
    entry = save_case(tmp_path)
    save(tmp_path / "ct_label.nii.gz", np.ones((40, 48, 9), np.uint8), np.eye(4))
    with pytest.raises(VolumeError, match="different affines") as caught:
        read(write_list(tmp_path, [entry]))
    assert caught.value.reason == "label_mismatch"


def test_values_that_are_almost_whole_are_followed_and_soft_ones_are_refused(tmp_path):
    datalist = write_list(tmp_path, [save_case(tmp_path) | {"label_values": [7]}])
    exact = read(datalist)[0]
    values = nib.load(tmp_path / "ct_label.nii.gz").get_fdata(dtype=np.float32)
    save(tmp_path / "ct_label.nii.gz", values + np.float32(1e-4) * (values == 7))
    assert exact.labels.any() and torch.equal(exact.labels, read(datalist)[0].labels)
    save(tmp_path / "ct_label.nii.gz", values / 14)
    with pytest.raises(VolumeError) as caught:
        read(datalist)
    assert caught.value.reason == "not_labels"


def fine_tune(folder, monkeypatch, **changes):
    """Run the overlay for two steps on a block of 9 slices; returns the trained network."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    datalist = write_list(folder, [save_case(folder)])
    small = {"epochs": 1, "epoch_length": 2, "clips": 1, "objects": 1, "clip_lengths": [2], "slice_size": 48}
    workflow = ConfigWorkflow(
        STACK,
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        bundle_root=str(BUNDLE),
        output_dir=str(folder / "run"),
        device="cpu",
        train_datalist=str(datalist),
        validation_datalist=str(datalist),
        warmup_steps=0,
        **(small | changes),
    )
    workflow.initialize()
    workflow.run()
    return workflow.parser.get_parsed_content("network").model


def changed(before, after):
    after = after.state_dict()
    return {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize("freeze", [True, False])
def test_the_overlay_trains_validates_and_writes(tmp_path, monkeypatch, freeze):
    build_tiny_medsam2(image_size=32).save_pretrained(tmp_path / "start")
    trained = fine_tune(
        tmp_path, monkeypatch, medsam2_path=str(tmp_path / "start"), freeze_encoder=freeze, val_interval=1
    )
    names = changed(load_medsam2(tmp_path / "start"), trained)
    assert any(name.startswith("vision_encoder.backbone.blocks") for name in names) is not freeze
    assert any(name.startswith("mask_decoder.transformer") for name in names)
    assert any(name.startswith("memory_attention") for name in names)
    assert load_medsam2(tmp_path / "run" / "model").image_size == 32
    assert (tmp_path / "run" / "checkpoints" / "checkpoint.pt").is_file()


def test_a_list_takes_the_place_of_shapes_and_phantoms(tmp_path):
    """train_propagator.json alone, with a list for training; validation stays with its phantoms."""
    workflow = ConfigWorkflow(
        STACK[0],
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        bundle_root=str(BUNDLE),
        output_dir=str(tmp_path / "run"),
        train_datalist=str(write_list(tmp_path, [save_case(tmp_path)])),
        validation_volumes=1,
    )
    workflow.initialize()
    (pool,) = workflow.parser.get_parsed_content("train#dataloader").pools
    assert pool.labels.shape == (1, 9, 96, 96) and pool.labels.unique().tolist() == [0, 1, 2]
    assert workflow.parser.get_parsed_content("pool_shares") == [1.0]
    assert len(list((tmp_path / "run" / "slice_cache").iterdir())) == 1
    assert [pool.labels.shape[0] for pool in workflow.parser.get_parsed_content("validate#dataset")] == [1, 1]


@pytest.mark.slow
def test_the_official_layout_is_fine_tuned_with_its_encoder_frozen(official_checkpoint, tmp_path, monkeypatch):
    """Random weights in the official file's form: 512 pixels, 39 million parameters."""
    trained = fine_tune(tmp_path, monkeypatch, medsam2_path=str(official_checkpoint), val_interval=2)
    names = changed(load_medsam2(official_checkpoint), trained)
    encoder = ("vision_encoder.", "mask_decoder.conv_s0.", "mask_decoder.conv_s1.")
    assert names and not any(name.startswith(encoder) for name in names)
    assert {name.split(".")[0] for name in names} >= {"mask_decoder", "memory_attention", "memory_encoder"}
    written = load_medsam2(tmp_path / "run" / "model")
    assert written.image_size == 512
    names = changed(load_medsam2(official_checkpoint), written)
    assert any(name.startswith("mask_decoder.transformer") for name in names)
    shutil.rmtree(tmp_path / "run")  # 700 MB

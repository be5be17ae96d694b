"""The list of systems: what is legal in it, and what its messages say."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.benchmark.bundle_runner import BundleError
from medvol_r1.benchmark.saved_masks import SavedMasks
from medvol_r1.benchmark.systems import SystemListError, read_systems
from medvol_r1.metrics import dice
from other_bundle import write_spleen_bundle

MASKS = {"name": "VISTA3D", "masks": "vista/{image}_trans.nii.gz", "labels": {"liver": 1}, "void_values": [255]}


def write(folder, systems):
    path = folder / "systems.json"
    path.write_text(systems if isinstance(systems, str) else json.dumps(systems))
    return path


def test_paths_are_relative_to_the_list(tmp_path):
    write_spleen_bundle(tmp_path / "bundles" / "spleen")
    bundle = {
        "name": "spleen (zoo)",
        "bundle": "bundles/spleen",
        "labels": {"spleen": 1},
        "item": {"label_prompt": [3]},
    }
    saved, run = read_systems(write(tmp_path, [MASKS, bundle]), tmp_path / "out")
    (part,) = saved.parts({"image": "/data/ct_7.nii.gz", "target": "liver"})
    assert part == (tmp_path / "vista" / "ct_7_trans.nii.gz", None, (1.0,)) and saved.masks.void_values == (255,)
    assert saved.runner is None and run.runner.bundle == tmp_path / "bundles" / "spleen"
    assert run.runner.item == {"label_prompt": [3]} and run.folder == tmp_path / "out" / "spleen (zoo)" / "masks"
    folder = run.runner._folder("ct_7.nii.gz", run.folder)
    folder.mkdir(parents=True)
    (folder / "ct_7_trans.nii.gz").touch()
    assert run.parts({"image": "ct_7.nii.gz", "target": "spleen"})[0].path == folder / "ct_7_trans.nii.gz"


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ("{", "not JSON in UTF-8"),
        ([], "holds an empty list; give a JSON list of objects"),
        ({"name": "a"}, "holds dict; give a JSON list of objects"),
        ([{"masks": "a"}], "system 1 of .* needs a name that can name a folder"),
        ([{"name": "../a", "masks": "a"}], "letters, digits, blanks and"),
        ([{"name": "a"}], r"system 1 of .* \(a\) needs `masks` .* or `bundle`"),
        ([{"name": "a", "masks": "b", "bundle": "c"}], "one of them"),
        (
            [{"name": "a", "masks": "b", "label": 1}],
            "the key 'label'; legal are name, masks, sidecar, array, axes, labels",
        ),
        (
            [{"name": "a", "masks": "b", "grid": "guess"}],
            r"\(a\): grid is 'guess'; legal are affine, same_shape, sidecar",
        ),
        ([{"name": "a", "masks": "b", "labels": 255, "void_values": [255]}], r"\(a\): labels has 255"),
        ([MASKS, MASKS], "has the name 'VISTA3D' twice"),
    ],
)
def test_bad_lists(tmp_path, systems, message):
    with pytest.raises(SystemListError, match=message):
        read_systems(write(tmp_path, systems), tmp_path)


def test_no_list_and_no_bundle(tmp_path):
    with pytest.raises(SystemListError, match="add `--systems FILE.json`, see bundle/docs/benchmarking.md"):
        read_systems(None, tmp_path)
    with pytest.raises(SystemListError, match=r"cannot be read: No such file.*\(config key `systems`\)"):
        read_systems(tmp_path / "none.json", tmp_path)
    with pytest.raises(BundleError, match=r"there is no .*spleen/configs/inference\.json"):
        read_systems(write(tmp_path, [{"name": "a", "bundle": "spleen"}]), tmp_path)


def documented(language):
    text = (Path(__file__).resolve().parents[2] / "bundle" / "docs" / "benchmarking.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_documented_systems_are_legal(tmp_path):
    write_spleen_bundle(tmp_path / "spleen_ct_segmentation")
    blocks = [json.loads(block) for block in documented("json")]
    assert len(blocks) == 6
    for block in blocks:
        read_systems(write(tmp_path, block if isinstance(block, list) else [block]), tmp_path)


def test_the_documented_sidecar_places_a_cropped_and_resized_array(tmp_path, monkeypatch):
    """Crop at (40, 32, 0) of 48 x 48 x 62 voxels, resized to 40 x 40 x 20: a ball in it comes back where it was."""
    monkeypatch.chdir(tmp_path)
    affine = np.array([[-0.8, 0, 0, 90], [0, 0.8, 0, -70], [0, 0, 1.5, 12], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.zeros((100, 90, 62), np.uint8), affine), "ct.nii.gz")
    (code,) = documented("python")
    exec(compile(code, "benchmarking.md", "exec"), {})
    index = np.stack(np.meshgrid(*map(np.arange, (100, 90, 62)), indexing="ij"), -1).astype(float)
    ball = ((index - [60, 58, 30]) ** 2 / [196, 196, 400]).sum(-1) < 1
    crop = torch.from_numpy(ball[40:88, 32:80].transpose(2, 1, 0)).float()[None, None]
    stored = torch.nn.functional.interpolate(crop, (20, 40, 40), mode="trilinear", align_corners=False)[0, 0] > 0.5
    np.savez("a.npz", segs=stored.numpy().astype(np.uint8))
    masks = SavedMasks(masks="a.npz", grid="sidecar", sidecar="ct_grid.json")
    placed = masks.place(masks.parts({"image": "ct.nii.gz"}), ball.shape, affine)
    # 0.959: nearest voxels of a grid three times as coarse along z; without the shift of (factor - 1) / 2 it is 0.940
    assert not placed.exact and dice(placed.mask, ball) > 0.955

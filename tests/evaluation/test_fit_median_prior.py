import json

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.evaluation.fit_median_prior import listed_examples, main, phantom_examples
from medvol_r1.evaluation.median_prior import MedianPrior
from medvol_r1.queries.concepts import CONCEPTS


def test_phantoms_give_every_target_with_its_subset():
    names = {name for name, _ in phantom_examples(1)}
    assert {"organs/liver", "whole_body/liver", "renal/kidneys"} <= names
    assert names <= {f"{subset}/{concept.target}" for subset in CONCEPTS for concept in CONCEPTS[subset]}


def test_the_command(tmp_path, capsys):
    main(["--volumes", "1", "--output", str(tmp_path / "prior.json")])
    prior = MedianPrior.load(tmp_path / "prior.json")
    liver = prior.boxes_xyxy_1000["organs/liver"][0]
    assert liver[0] < 500, "the liver is on the patient's right, the left of the picture"
    assert f"{len(prior.positions)} targets written" in capsys.readouterr().out


def save_water(folder, name, low, high):
    """A CT of 60 x 60 x 12 voxels of 4 mm, water between two corners in plane, and its label: all of slice 3 there."""
    voxels = np.full((60, 60, 12), -1000, np.int16)
    voxels[low[0] : high[0], low[1] : high[1]] = 0
    label = (voxels == 0) & (np.arange(12) == 3)
    affine = np.diag((-4.0, -4.0, 4.0, 1.0))  # voxel axes L, P, S
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(label.astype(np.uint8), affine), folder / f"{name}_label.nii.gz")
    entry = {"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz", "target": "water", "subset": "pool"}
    return [entry | {"query": query, "case": f"{name}{query}"} for query in ("one", "two")]


def test_it_is_fitted_to_a_list_of_volumes_cropped_to_the_body(tmp_path):
    """Wherever the body lies in the slice, it lies alike in the crop, so the median is the place of each."""
    entries = save_water(tmp_path, "a", (0, 0), (40, 40)) + save_water(tmp_path, "b", (20, 15), (60, 55))
    (tmp_path / "list.json").write_text(json.dumps(entries))
    main(["--datalist", str(tmp_path / "list.json"), "--output", str(tmp_path / "prior.json")])
    prior = MedianPrior.load(tmp_path / "prior.json")
    assert prior.positions == {"pool/water": pytest.approx(3 / 11, abs=1e-4)}
    # 160 mm of water in 176 mm: from 8 / 176 to 168 / 176, on 96 pixels.
    np.testing.assert_allclose(prior.boxes_xyxy_1000["pool/water"], [[45, 45, 955, 955]], atol=11)


def test_a_list_with_a_volume_that_cannot_be_read(tmp_path):
    entries = save_water(tmp_path, "a", (0, 0), (40, 40))
    (tmp_path / "a.nii.gz").write_bytes(b"no")
    (tmp_path / "list.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="aone of .*list.json: "):
        list(listed_examples(tmp_path / "list.json"))

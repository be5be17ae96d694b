"""What a run does that was given no cases."""

from functools import partial

import nibabel as nib
import numpy as np
from medvol_r1.datasets.cases import read_cases
from medvol_r1.datasets.demo_cases import write_demo_cases


def test_a_labelled_phantom_is_written_when_a_run_was_given_nothing(tmp_path):
    cases = read_cases(demo=partial(write_demo_cases, tmp_path / "demo"), arguments=[])
    assert [case["case"] for case in cases] == ["phantom_liver", "phantom_kidneys"]
    for case in cases:
        image, label = nib.load(case["image"]), nib.load(case["label"])
        assert image.shape == label.shape and np.array_equal(image.affine, label.affine)
        assert np.asarray(image.dataobj).min() < -900
        assert set(np.unique(label.dataobj)) == {0, 1}
    # The list it wrote is one that a user can take as a pattern.
    assert read_cases(datalist=tmp_path / "demo" / "datalist.json") == cases

import numpy as np
import pytest
from medvol_r1.phantom.looks import MODALITIES, look_of

# Left air, then soft tissue, then bone.
SLICE = np.repeat(np.array([[-1000.0, 40, 400]]), 12, axis=0).repeat(8, axis=1)
COLOURED = {"fundus photography", "dermoscopy", "endoscopy", "microscopy"}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_look_shows_the_slice_and_repeats(modality):
    picture = look_of(modality, SLICE, np.random.default_rng(1))
    assert picture.dtype == np.uint8 and picture.shape == SLICE.shape + (3,) * (modality in COLOURED)
    assert np.array_equal(picture, look_of(modality, SLICE, np.random.default_rng(1)))
    flat = picture.reshape(12, 24, -1).astype(float).mean(axis=2)
    tissues = [flat[:, start : start + 8][:, 2:6].mean() for start in (0, 8, 16)]
    assert np.ptp(tissues) > 30, "what lies in the slice can be told apart"


def test_there_are_ten_and_no_two_look_alike():
    pictures = [look_of(name, SLICE, np.random.default_rng(0)) for name in MODALITIES]
    rgb = [picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1) for picture in pictures]
    assert len(MODALITIES) == 10
    assert all((a.astype(int) - b).any() for i, a in enumerate(rgb) for b in rgb[:i])


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="modality is 'mri'; CT, MRI, X-ray, "):
        look_of("mri", SLICE, np.random.default_rng(0))

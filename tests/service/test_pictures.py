from io import BytesIO

import numpy as np
import pytest
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.pictures import PLANES, cut, mask_png, slice_png
from PIL import Image

# [X, Y, Z] to the left, posterior, superior: a voxel's value tells where it is.
VOLUME = np.add.outer(np.add.outer(100 * np.arange(3), 10 * np.arange(4)), np.arange(5)).astype(np.int16)


def pixels(png):
    return np.array(Image.open(BytesIO(png)))


def test_planes_lie_as_a_radiologist_sees_them():
    # Upper left, upper right, lower left: right anterior, left anterior, right posterior.
    assert cut(VOLUME, "axial", 2)[[0, 0, -1], [0, -1, 0]].tolist() == [2, 202, 32]
    # Right superior, left superior, right inferior.
    assert cut(VOLUME, "coronal", 1)[[0, 0, -1], [0, -1, 0]].tolist() == [14, 214, 10]
    # Anterior superior, posterior superior, anterior inferior.
    assert cut(VOLUME, "sagittal", 2)[[0, 0, -1], [0, -1, 0]].tolist() == [204, 234, 200]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("plane", PLANES)
def test_to_cut_copies_nothing(plane, order):
    """A volume of NIfTI is in Fortran order, of which NumPy's `take` copies the whole for each slice."""
    volume = np.asarray(VOLUME, order=order)
    assert np.shares_memory(cut(volume, plane, 1), volume)


def test_a_window_makes_grey_values():
    # 10 * y + 2 on the axial slice 2 at x = 0: 2, 12, 22, 32; from 2 to 22 black to white.
    assert pixels(slice_png(VOLUME, "axial", 2, 2, 22))[:, 0].tolist() == [0, 128, 255, 255]


def test_a_mask_is_opaque_at_its_edge_and_transparent_outside():
    mask = np.zeros((6, 6, 2), bool)
    mask[1:5, 1:5, 1] = True
    picture = pixels(mask_png(mask, "axial", 1, "#ff8000"))
    assert picture.shape == (6, 6, 4)
    assert picture[1, 1].tolist() == [255, 128, 0, 255]
    assert 0 < picture[2, 2, 3] < 255 and picture[0].max() == 0
    assert pixels(mask_png(mask, "axial", 0, "#ff8000")).max() == 0


@pytest.mark.parametrize("plane, last", zip(PLANES, (4, 3, 2), strict=True))
def test_a_slice_outside_is_refused(plane, last):
    slice_png(VOLUME, plane, last, 0, 1)
    for index in (-1, last + 1):
        with pytest.raises(ServiceError, match=f"0..{last}") as caught:
            slice_png(VOLUME, plane, index, 0, 1)
        assert caught.value.reason == "unknown_slice"


def test_another_plane_and_an_empty_window_are_refused():
    with pytest.raises(ServiceError, match="legal are axial, coronal, sagittal") as caught:
        cut(VOLUME, "oblique", 0)
    assert caught.value.reason == "unknown_plane"
    for low, high in ((1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))):
        with pytest.raises(ServiceError) as caught:
            slice_png(VOLUME, "axial", 0, low, high)
        assert caught.value.reason == "bad_window"

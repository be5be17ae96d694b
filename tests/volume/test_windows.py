"""Windows: HU to grey values, as a function and as a dictionary transform."""

import numpy as np
import pytest
import torch
from medvol_r1.volume.windows import HUWindow, WindowHUd
from monai.data import MetaTensor


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_one_window_for_arrays_and_tensors(kind):
    hu = kind(np.array([-1000.0, -160, -60, 40, 140, 240, 3000], dtype=np.float32))
    grey = HUWindow([-160, 240])(hu)
    assert type(grey) is type(hu) and grey.dtype == hu.dtype
    assert grey.tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]  # (hu + 160) / 400, clipped


def test_window_golden():
    hu = torch.tensor([-1000.0, -160, -60, 40, 140, 240, 3000])
    expected = [0, 0, 0.25, 0.5, 0.75, 1, 1]  # (hu + 160) / 400, clipped
    image = WindowHUd("image")({"image": MetaTensor(hu[None])})["image"]
    assert image.shape == (1, 7) and image.dtype == torch.float32
    np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-7)


def test_three_windows_golden():
    hu = MetaTensor(torch.tensor([[-1000.0, -600, 0, 40, 400]]), meta={"query": "liver"})
    windows = [[-160, 240], [-1000, 0], [0, 800]]
    image = WindowHUd("image", windows=windows)({"image": hu})["image"]
    expected = [
        [0, 0, 0.4, 0.5, 1],  # (hu + 160) / 400
        [0, 0.4, 1, 1, 1],  # (hu + 1000) / 1000
        [0, 0, 0, 0.05, 0.5],  # hu / 800
    ]
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    assert image.meta["query"] == "liver"


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            [[240, -160]],
            r"the window is \[240, -160\]; \[lower_hu, upper_hu\] with lower < upper.*`window` or an entry",
        ),
        ([[0, 0]], r"the window is \[0, 0\]"),
        ([[-160, float("inf")]], r"the window is \[-160, inf\]"),
        ([[float("nan"), 240]], r"the window is \[nan, 240\]"),
        ([[-160, 240, 400]], r"the window is \[-160, 240, 400\]"),
        ([-160, 240, 400], r"the window is -160"),
        ([-160, 240], r"windows has 2 entries, \[-160, 240\]; 1 or 3 of \[lower_hu, upper_hu\] are legal"),
        ([], r"windows has 0 entries"),
    ],
)
def test_windows_bad(windows, message):
    with pytest.raises(ValueError, match=message):
        WindowHUd("image", windows=windows)


def test_windows_twice():
    with pytest.raises(ValueError, match="'image' has 3 channels; one channel in HU is expected"):
        WindowHUd("image")({"image": MetaTensor(torch.zeros(3, 2, 2, 2))})

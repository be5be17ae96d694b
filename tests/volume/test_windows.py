"""Windows: HU to grey values, as a function and as a dictionary transform."""

import numpy as np
import pytest
import torch
from medvol_r1.volume.windows import HUWindow, WindowHUd, WindowIntensityd
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


# Other modalities ---------------------------------------------------------------------------------------------------


def windowed(values, intensity):
    return WindowIntensityd("image", intensity)({"image": MetaTensor(torch.as_tensor(values, dtype=torch.float32))})


def test_percentiles_cut_off_what_few_voxels_have():
    # 0, 1, ..., 1000: the 0.5th percentile is 5, the 99.5th 995.
    image = windowed(np.arange(1001.0)[None], "percentiles")["image"]
    np.testing.assert_allclose(image[0, [0, 5, 104, 500, 995, 1000]], [0, 0, 0.1, 0.5, 1, 1], atol=1e-6)
    assert image.meta["window_limits"].tolist() == [5, 995]
    with_artefact = np.arange(1001.0)
    with_artefact[1000] = 1e6
    assert torch.equal(windowed(with_artefact[None], "percentiles")["image"][0, :1000], image[0, :1000])


def test_percentiles_are_those_of_all_slices_and_channels():
    volume = np.stack([np.full((4, 5, 5), 100.0), np.full((4, 5, 5), 300.0), np.full((4, 5, 5), 200.0)])
    image = windowed(volume, "percentiles")["image"]
    assert image.shape == (3, 4, 5, 5) and image.mean(dim=(1, 2, 3)).tolist() == [0, 1, 0.5]


def test_percentiles_that_coincide_give_way_to_the_whole_range():
    sparse = np.zeros((1, 1000))
    sparse[0, :2] = 4, 8
    assert windowed(sparse, "percentiles")["image"][0, :3].tolist() == [0.5, 1, 0]


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([10, 100, 200], [0, 255]),  # 8 bits: as they are
        ([10, 100, 256], [10, 256]),
        ([-1, 100, 200], [-1, 200]),
        ([0, 0.5, 200], [0, 200]),
        ([0, 1, 1], [0, 1]),  # a mask, or floats that are 0 and 1
    ],
)
def test_the_full_range_is_that_of_eight_bits_or_of_the_values(values, limits):
    image = windowed([values], "full_range")["image"]
    assert image.meta["window_limits"].tolist() == limits
    low, high = limits
    np.testing.assert_allclose(image[0], (np.array(values) - low) / (high - low), atol=1e-6)


def test_a_ct_is_windowed_as_before():
    hu = MetaTensor(torch.tensor([[-1000.0, -60, 40, 400]]))
    windows = [[-160, 240], [-1000, 0], [0, 800]]
    for chosen in ([[-160, 240]], windows):
        found = WindowIntensityd("image", "ct", chosen)({"image": hu})["image"]
        assert torch.equal(found, WindowHUd("image", chosen)({"image": hu})["image"])


def test_an_unknown_intensity_is_refused():
    with pytest.raises(ValueError, match=r"intensity is 'mr'; ct, percentiles, full_range are legal \(config key"):
        WindowIntensityd("image", "mr")

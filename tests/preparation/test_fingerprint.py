import json

import numpy as np
import pytest
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.preparation.fingerprint import fingerprint, same_patient, same_patients, shared_part

SHAPE = (96, 96, 32)


def scan(seed, subset="organs"):
    return np.rint(make_phantom(seed, subset, shape=SHAPE).image).astype(np.int16)


@pytest.fixture(scope="module")
def image():
    return scan(3)


@pytest.fixture(scope="module")
def others():
    return [fingerprint(scan(seed, subset)) for seed in range(10, 16) for subset in ("organs", "renal", "whole_body")]


def z_scores(image):
    """As M3D-Seg stores its images: clipped to percentiles of what lies above the mean, then z-scored."""
    low, high = np.percentile(image[image > image.mean()], [0.05, 99.95])
    clipped = np.clip(image.astype(np.float32), low, high)
    return (clipped - clipped.mean()) / clipped.std()


def stored_with_slope(image):
    """As nibabel saves floats as int16: 65536 steps between the least and the greatest value."""
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) / (high - low) * 65535) * (high - low) / 65535 + low


COPIES = {
    "flipped": lambda image: image[::-1, :, ::-1],
    "axes exchanged": lambda image: image.transpose(2, 0, 1),
    "in Fortran order": np.asfortranarray,
    "cropped along z": lambda image: image[:, :, 9:23],
    "cropped along all axes": lambda image: image[15:80, 20:90, 4:28],
    "shifted by 1024, unsigned": lambda image: (image.clip(-1024) + 1024).astype(np.uint16),
    "float64": lambda image: image.astype(np.float64),
    "with a slope": stored_with_slope,
    "clipped to a window": lambda image: image.clip(-160, 240),
    "z-scored": z_scores,
    "all at once": lambda image: (image[::-1, 10:85, 5:25].clip(-1000, 400) + 1024.0).transpose(1, 2, 0),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_known(image, others, change):
    copy = fingerprint(COPIES[change](image))
    assert same_patient(fingerprint(image), copy) and same_patient(copy, fingerprint(image))
    assert not any(same_patient(copy, other) for other in others)


@pytest.mark.parametrize("change", ["flipped", "axes exchanged", "in Fortran order", "float64", "with a slope"])
def test_what_moves_or_renames_voxels_changes_no_hash(image, change):
    assert fingerprint(COPIES[change](image)) == fingerprint(image)


def test_interpolated_voxels_are_known_by_their_whole_hu(image):
    assert fingerprint(make_phantom(3, "organs", shape=SHAPE).image) == fingerprint(image)


def test_different_patients_share_nothing(others):
    hashes = [h for one in others for h in one]
    assert len(set(hashes)) == len(hashes) == 512 * len(others)


def test_slabs_are_seamless(image):
    """32 slices are two slabs; peaks at the seam are neither lost nor counted from half a neighbourhood."""
    whole = fingerprint(image)
    thick = np.ascontiguousarray(image.transpose(2, 0, 1))  # other axis, other seams
    assert fingerprint(thick) == whole


def test_hashes_stay_what_they_were():
    """A data set that was prepared by an earlier version is compared with one of today (`patients.json`)."""
    noise = np.random.default_rng(0).integers(-30, 30, (20, 30, 40))
    found = fingerprint(noise)
    assert [found[0], found[1], found[-1]] == [3090882058376, 20572485276072, 2421776184984670]


def test_peaks_are_hashed_in_any_number_at_a_time(image, monkeypatch):
    whole = fingerprint(image)
    monkeypatch.setattr("medvol_r1.preparation.fingerprint._PEAKS_AT_A_TIME", 100)
    assert fingerprint(image) == whole


def test_it_is_json(image):
    found = fingerprint(image)
    assert json.loads(json.dumps(found)) == found == sorted(set(found))
    assert max(found) < 2**53


@pytest.mark.parametrize("image", [np.zeros((9, 9, 9)), np.ones((4, 30, 30)), np.arange(1000.0).reshape(10, 10, 10)])
def test_nothing_to_tell_an_image_by(image):
    assert fingerprint(image) == []
    assert not same_patient([], [])


def test_a_small_crop_is_found_in_the_whole():
    """The smallest hashes of a crop are not among the smallest of the whole; those that can be are compared."""
    noise = np.random.default_rng(0).normal(0, 20, (80, 80, 80)).round()
    whole, crop = fingerprint(noise), fingerprint(noise[:40, :40, :40])
    # An eighth of the whole's hashes, about 64 of 512, are the crop's.
    assert 30 < len(set(whole) & set(crop)) < 110
    assert same_patient(whole, crop)


def test_half_of_the_least_share_is_no_match():
    first, second = list(range(0, 1024, 2)), list(range(1, 1025, 2))
    assert not same_patient(first, sorted(second[51:] + first[:51]))
    assert same_patient(first, sorted(second[110:] + first[:110]))


def test_pairs_of_many(image, others):
    cases = {f"other{n}": one for n, one in enumerate(others)}
    cases = {"a": fingerprint(image)} | cases | {"b": fingerprint(image[:, ::-1] + 1024), "empty": [], "nothing": []}
    assert same_patients(cases) == [("a", "b")]
    assert same_patients({}) == same_patients({"empty": []}) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (range(4), range(2, 8), 2 / 4),  # both know all of their hashes: two of the smaller one's four
        (range(512), range(500, 1012), 12 / 12),  # both are full and end at 511: of the second one twelve are known
        (range(0, 1024, 2), range(8), 4 / 8),  # one is full: of the other all lie below its end
        ([], range(8), 0.0),
    ],
)
def test_the_part_of_what_can_be_shared(first, second, expected):
    assert shared_part(list(first), list(second)) == shared_part(list(second), list(first)) == expected

"""Planes of a NIfTI file: their values, what is held of the others, and a file that is not whole."""

import tracemalloc

import numpy as np
import pytest
from medvol_r1.volume.failures import VolumeError
from medvol_r1.volume.nifti_file import open_nifti, read_planes
from nifti_files import write


def random_voxels(shape=(30, 31, 32)):
    return np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)


def planes(path, axis, index):
    return read_planes(path, open_nifti(path), axis, np.array(index))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_the_planes_are_those_of_the_file(tmp_path, name, axis):
    path = write(tmp_path / name, random_voxels())
    found = planes(path, axis, [0, 3, 17, 29])
    np.testing.assert_array_equal(found, random_voxels().take([0, 3, 17, 29], axis))
    assert found.dtype == np.float32 and found.flags.f_contiguous


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_a_file_that_ends_behind_the_planes_is_truncated(tmp_path, name, axis):
    path = write(tmp_path / name, random_voxels())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VolumeError, match="ends early or is damaged") as caught:
        planes(path, axis, [15])
    assert caught.value.reason == "truncated_file"


def test_damage_between_the_planes_is_found_with_gzip(tmp_path):
    path = write(tmp_path / "ct.nii.gz", random_voxels())
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    with pytest.raises(VolumeError, match="ends early or is damaged"):
        planes(path, 2, [0, 31])


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_memory_is_bounded_by_the_planes(tmp_path, name, axis):
    path = write(tmp_path / name, random_voxels((128, 128, 200)[:: 1 if axis == 2 else -1]))
    image, index = open_nifti(path), np.array([0, 66, 133, 199])
    tracemalloc.start()
    read_planes(path, image, axis, index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The planes: 4 x 128 x 128 float32, 0.26 MB; stored: 200 x 128 x 128 int16, 6.6 MB. The end is read by the MiB.
    assert peak < 2**21

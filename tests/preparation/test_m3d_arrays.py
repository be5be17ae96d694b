import numpy as np
import pytest
from medvol_r1.preparation.case_failures import CaseError
from medvol_r1.preparation.m3d_arrays import read_arrays
from medvol_r1.volume.failures import VolumeError
from scipy import sparse

SHAPE = (2, 3, 4)


def written(folder, shape=(2, *SHAPE), name=None, image=None, matrix=None):
    """An image of 0 to 23; channel 0 marks voxels 1 and 5, channel 1 voxels 5 and 23."""
    rows = np.zeros((2, 24), np.int32)
    rows[0, [1, 5]] = rows[1, [5, 23]] = 1
    np.save(folder / "image.npy", np.arange(24.0).reshape(1, *SHAPE) if image is None else image)
    label = folder / (name or f"mask_({', '.join(map(str, shape))}).npz")
    sparse.save_npz(label, sparse.csr_matrix(rows) if matrix is None else matrix)
    return folder / "image.npy", label


def refused(error, paths):
    with pytest.raises(error) as caught:
        read_arrays(*paths)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("name", [None, "case_00000.(2, 2, 3, 4).npz", "mask_(2,2,3,4).npz"])
def test_channels_become_values_and_the_last_one_counts(name, tmp_path):
    image, label = read_arrays(*written(tmp_path, name=name))
    assert image.shape == label.shape == SHAPE and image.dtype == np.float32
    assert {int(voxel): int(label.flat[voxel]) for voxel in np.flatnonzero(label)} == {1: 1, 5: 2, 23: 2}
    assert image[0, 1, 1] == 5 and label[0, 1, 1] == 2  # one order for both


def test_a_stored_zero_marks_nothing(tmp_path):
    matrix = sparse.csr_matrix(([0, 1], ([0, 0], [3, 4])), shape=(2, 24))
    assert read_arrays(*written(tmp_path, matrix=matrix))[1].sum() == 1


def test_a_name_without_a_shape_and_one_with_another(tmp_path):
    reason, message = refused(CaseError, written(tmp_path, name="mask.npz"))
    assert reason == "bad_array" and "mask.npz does not say its shape" in message
    reason, message = refused(CaseError, written(tmp_path, shape=(2, 2, 3, 5)))
    assert reason == "bad_array" and "holds (2, 24), its name says (2, 2, 3, 5)" in message


def test_an_image_of_another_shape(tmp_path):
    reason, message = refused(VolumeError, written(tmp_path, image=np.zeros((1, 4, 3, 2))))
    assert reason == "label_mismatch" and "(4, 3, 2)" in message and "(2, 3, 4)" in message


@pytest.mark.parametrize("image", [np.zeros(SHAPE), np.zeros((2, *SHAPE)), np.zeros((1, *SHAPE), complex)])
def test_an_array_of_another_form(image, tmp_path):
    assert refused(CaseError, written(tmp_path, image=image))[0] == "bad_array"


def test_nan(tmp_path):
    assert refused(VolumeError, written(tmp_path, image=np.full((1, *SHAPE), np.nan)))[0] == "non_finite_voxels"


def test_pickled_objects_are_never_loaded(tmp_path):
    paths = written(tmp_path)
    np.save(paths[0], np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "is no array" in refused(VolumeError, paths)[1]


@pytest.mark.parametrize("which", [0, 1])
def test_half_a_file(which, tmp_path):
    paths = written(tmp_path)
    content = paths[which].read_bytes()
    paths[which].write_bytes(content[: len(content) // 2])
    reason, message = refused(VolumeError, paths)
    assert reason == "truncated_file" and str(paths[which]) in message and "download it again" in message

import pickle

import pytest
from medvol_r1.volume.failures import VolumeError


def test_error_crosses_processes():
    error = pickle.loads(pickle.dumps(VolumeError("not_3d", "a.nii has shape (6, 5)")))
    assert (error.reason, str(error)) == ("not_3d", "a.nii has shape (6, 5)")


def test_reasons_are_closed():
    with pytest.raises(ValueError, match="'odd' must be one of"):
        VolumeError("odd", "message")

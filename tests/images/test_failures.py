import pickle

import pytest
from medvol_r1.images.failures import IMAGE_FAILURES, ImageError
from medvol_r1.volume.failures import VOLUME_FAILURES


def test_the_reason_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(ImageError("too_large", "a.png is too large")))
    assert (error.reason, str(error)) == ("too_large", "a.png is too large")


def test_a_reason_is_one_of_the_list_and_the_volumes_know_it():
    with pytest.raises(ValueError, match="'odd' must be one of"):
        ImageError("odd", "message")
    assert set(IMAGE_FAILURES) < set(VOLUME_FAILURES) and len(set(VOLUME_FAILURES)) == len(VOLUME_FAILURES)

import pickle

import pytest
from medvol_r1.errors import ReasonedError, failure_of, message_of
from medvol_r1.volume.io import VolumeError
from medvol_r1.volume.query_text import QueryError


def test_a_reason_outside_the_list_is_refused():
    with pytest.raises(ValueError, match="reason 'odd' must be one of"):
        VolumeError("odd", "text")
    assert issubclass(VolumeError, ReasonedError) and issubclass(ReasonedError, ValueError)


def test_an_error_crosses_a_process_boundary():
    error = pickle.loads(pickle.dumps(VolumeError("not_3d", "flat")))
    assert (error.reason, str(error)) == ("not_3d", "flat")


def chained(*errors):
    """The first error, caused by the second, and so on."""
    for outer, inner in zip(errors, errors[1:], strict=False):
        outer.__cause__ = inner
    return errors[0]


def test_the_reason_is_that_of_the_typed_error_within_the_wrapping():
    error = chained(RuntimeError("applying transform"), VolumeError("not_nifti", "bad file"), OSError("low"))
    assert failure_of(error, "a") == {"case": "a", "reason": "not_nifti", "message": "bad file"}
    error = chained(RuntimeError("applying transform"), QueryError("not_text", "no text"))
    assert failure_of(error, "a")["reason"] == "not_text"
    error = chained(RuntimeError("applying transform"), KeyError("image"))
    assert failure_of(error, "a") == {"case": "a", "reason": "KeyError", "message": "'image'"}


def test_the_message_is_that_of_our_code():
    """MONAI's wrapping is taken off, not what our own error was caused by."""
    own = chained(ValueError("the list is empty"), OSError("low"))
    assert message_of(chained(RuntimeError("instantiating"), RuntimeError("applying"), own)) == "the list is empty"
    assert message_of(chained(RuntimeError("out of memory"))) == "out of memory"
    assert message_of(KeyboardInterrupt()) == "KeyboardInterrupt"

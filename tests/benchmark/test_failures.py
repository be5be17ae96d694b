import pytest
from medvol_r1.benchmark.failures import MASK_FAILURES, MaskError


def test_reasons_are_a_closed_list():
    assert len(set(MASK_FAILURES)) == len(MASK_FAILURES)
    with pytest.raises(ValueError, match="must be one of"):
        MaskError("whatever", "")

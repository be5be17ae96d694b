import pytest
from medvol_r1.service.failures import SERVICE_FAILURES, ServiceError


def test_a_refusal_has_a_reason_of_the_closed_list():
    assert [ServiceError(reason, "no").reason for reason in SERVICE_FAILURES] == list(SERVICE_FAILURES)
    with pytest.raises(ValueError, match="must be one of"):
        ServiceError("something else", "no")

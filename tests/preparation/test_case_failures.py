import pickle

import pytest
from medvol_r1.preparation.case_failures import CASE_FAILURES, CaseError


def test_reasons_are_a_closed_list_and_cross_processes():
    with pytest.raises(ValueError, match="must be one of"):
        CaseError("other", "text")
    error = pickle.loads(pickle.dumps(CaseError(CASE_FAILURES[0], "what was found")))
    assert (error.reason, str(error)) == (CASE_FAILURES[0], "what was found")

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

import json

from medvol_r1.web.failures import REASONS, STATUS, WEB_FAILURES, WebError, failure_response


def test_every_status_is_one_of_a_reason():
    assert set(STATUS) <= REASONS
    assert set(STATUS.values()) == {400, 401, 404, 409, 413, 429, 500}


@pytest.mark.parametrize("reason, status", [("wrong_key", 401), ("unknown_mask", 404), ("bad_header", 422)])
def test_a_failure_has_one_form(reason, status):
    response = failure_response(reason, "<b>no</b>")
    assert response.status_code == status and response.media_type == "application/json"
    assert json.loads(response.body) == {"error": {"reason": reason, "message": "<b>no</b>"}}


def test_reasons_of_the_web_are_a_closed_list():
    assert WebError("bad_request", "no").reason in WEB_FAILURES
    with pytest.raises(ValueError):
        WebError("bad_header", "no")

import pytest
from medvol_r1.anchor import FAILURE_REASONS
from medvol_r1.report.status_words import in_words


@pytest.mark.parametrize(
    "status, words",
    [
        ("ok", "found"),
        ("absent", "not in this scan"),
        ("abstained", "not sure: the answers disagree"),
        *((reason, f"no valid answer ({reason})") for reason in FAILURE_REASONS),
    ],
)
def test_each_status_has_words(status, words):
    assert in_words(status) == words

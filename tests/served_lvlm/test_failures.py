"""Reasons and remedies: a closed list, each with the config key to change."""

import json
import pickle
import re
from pathlib import Path

import pytest
from medvol_r1.errors import failure_of
from medvol_r1.served_lvlm.failures import REMEDIES, ServedModelError, served_error

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"


@pytest.mark.parametrize("reason", REMEDIES)
def test_each_names_keys_that_the_configs_have(reason):
    keys = {key for name in ("inference", "served_lvlm") for key in json.loads((CONFIGS / f"{name}.json").read_text())}
    told = [re.findall(r"`(\w+)`", part) for part in re.findall(r"\(?config keys? ([^;)]*)", REMEDIES[reason])]
    assert told and {key for part in told for key in part} <= keys


def test_an_error_is_counted_by_its_reason_and_crosses_processes():
    error = pickle.loads(pickle.dumps(served_error("timeout", "No reply")))
    message = "No reply; wait longer, or ask less at a time (config keys `timeout_s`, `max_concurrency`)."
    assert failure_of(error, "c") == {"case": "c", "reason": "timeout", "message": message}


def test_the_list_is_closed():
    with pytest.raises(ValueError, match="'bored' must be one of"):
        ServedModelError("bored", "")

"""Reading a list that a user wrote as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json_list(path: Path, name: str, config_keys: str, wanted: str, error_type: type[ValueError]) -> list[Any]:
    """The entries of a JSON file, every text verbatim; what they hold is the caller's to check.

    Args:
        path: the file.
        name: what it is called in errors ("the datalist").
        config_keys: where its path comes from ("config key `datalist`").
        wanted: what it should hold ("a JSON list of ...").
        error_type: of the errors.

    Raises:
        ValueError: of `error_type`: no such file, not JSON, not a list, or an empty one.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise error_type(f"{name} {path} cannot be read: {error.strerror} ({config_keys}).") from error
    except ValueError as error:
        raise error_type(f"{name} {path} is not JSON in UTF-8: {error}.") from error
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else type(entries).__name__
        raise error_type(f"{name} {path} holds {found}; give {wanted}.")
    return entries

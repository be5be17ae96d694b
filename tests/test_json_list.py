"""Lists that users write as JSON: what is read, and what the messages say."""

import pytest
from medvol_r1.json_list import read_json_list


class ListError(ValueError):
    pass


def read(path):
    return read_json_list(path, "the list of pears", "config key `pears`", "a JSON list of pears", ListError)


def test_texts_are_verbatim(tmp_path):
    path = tmp_path / "pears.json"
    path.write_text('["$a, b", "肝脏", {"c": null}]', encoding="utf-8")
    assert read(path) == ["$a, b", "肝脏", {"c": None}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"the list of pears .*pears\.json cannot be read: No such file or directory \(config key `pears`\)"),
        (b"[", "is not JSON in UTF-8: Expecting value"),
        (b'["\xff"]', "is not JSON in UTF-8: .*invalid start byte"),
        (b"[]", "holds an empty list; give a JSON list of pears"),
        (b"{}", "holds dict; give a JSON list of pears"),
        (b"null", "holds NoneType; give a JSON list of pears"),
    ],
    ids=["absent", "cut", "not UTF-8", "empty", "object", "null"],
)
def test_what_is_no_list_says_why(tmp_path, content, message):
    path = tmp_path / "pears.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ListError, match=message):
        read(path)

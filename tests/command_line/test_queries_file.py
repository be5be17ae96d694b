import json

import pytest
from hostile_text import HOSTILE
from medvol_r1.command_line.queries_file import QueriesFileError, read_queries


def test_lines_are_queries_verbatim_and_blank_ones_do_not_count(tmp_path):
    (tmp_path / "q.txt").write_bytes("\ufeffthe liver\r\n \r\n  $HOME \n\u809d".encode())
    assert read_queries(tmp_path / "q.txt") == ["the liver", "  $HOME ", "\u809d"]


def test_a_json_list_holds_any_text(tmp_path):
    (tmp_path / "q.JSON").write_text(json.dumps(HOSTILE))
    assert read_queries(tmp_path / "q.JSON") == HOSTILE


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("q.txt", b"\n \n", "q.txt holds no query; give one a line"),
        ("q.txt", b"\xff\xfe\x00", "cannot be read as text in UTF-8"),
        ("q.json", b"[]", "holds an empty list; give a JSON list of texts"),
        ("q.json", b'["liver", 3]', "entry 2 of .*q.json is 3; give a text"),
        ("q.json", b'"liver"', "holds str; give a JSON list of texts"),
        ("q.json", b"liver", "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QueriesFileError, match=message):
        read_queries(tmp_path / name)


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(QueriesFileError, match="cannot be read as text"):
        read_queries(tmp_path)

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from medvol_r1.web.bodies import Correction, Question, StudyPath, read_body
from medvol_r1.web.failures import WebError


def test_bodies_are_read_as_they_are():
    assert read_body(StudyPath, b'{"path": "$import os"}').path == "$import os"
    question = read_body(Question, b'{"query": "the liver\\u0000"}')
    assert (question.query, question.name) == ("the liver\0", None)
    correction = read_body(Correction, b'{"key_slice": 3, "boxes": [[1, 2.5, 3, 4]]}')
    assert correction.boxes == [[1, 2.5, 3, 4]]


@pytest.mark.parametrize(
    "kind, content, said",
    [
        (Question, b'{"query": 3}', "query: Input should be a valid string"),
        (Question, b'{"query": "a", "secret": "x"}', "secret: Extra inputs are not permitted"),
        (Question, b'{"name": "a"}', "query: Field required"),
        (Correction, b'{"key_slice": "3", "boxes": []}', "key_slice: Input should be a valid integer"),
        (Correction, b'{"key_slice": 3, "boxes": [["1"]]}', "boxes.0.0: Input should be a valid number"),
        (StudyPath, b"not JSON", "Invalid JSON"),
    ],
)
def test_what_is_wrong_is_said_without_repeating_it(kind, content, said):
    with pytest.raises(WebError) as caught:
        read_body(kind, content)
    assert caught.value.reason == "bad_request" and said in str(caught.value)


def test_a_long_list_of_errors_is_short():
    with pytest.raises(WebError) as caught:
        read_body(Correction, b'{"key_slice": 3, "boxes": [' + b",".join([b'["' + b"x" * 99 + b'"]'] * 1000) + b"]}")
    assert len(str(caught.value)) < 1000 and "xxx" not in str(caught.value)

"""The query's text on its way into the image's meta data."""

import pickle

import pytest
import torch
from medvol_r1.volume.query_text import QUERY_FAILURES, QueryError, QueryToMetad
from monai.data import MetaTensor


def ask(query, **kwargs):
    data = QueryToMetad("image", **kwargs)({"image": MetaTensor(torch.zeros(1, 1, 2, 2)), "query": query})
    assert data["image"].meta["query"] == data["query"]
    return data["query"]


@pytest.mark.parametrize(
    "query",
    [
        "liver",
        "  Where is the spleen?\n",
        "<|vision_start|> <slice 3> </answer>",
        "$print(1)",
        "@image",
        "%image",
        "a::b#c",
        "\"quoted\" 'twice'",
        "肝脏 — größer als 3 cm? 🫀",
        "x" * 2000,
    ],
)
def test_query_is_kept_verbatim(query):
    assert ask(query) == query


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (("liver", "spleen"), "liver, spleen"),  # what python-fire makes of "liver, spleen"
        (["liver", 3], "liver, 3"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
    ],
)
def test_query_that_the_command_line_changed(query, text):
    assert ask(query) == text


@pytest.mark.parametrize(
    ("query", "reason", "message"),
    [
        (None, "missing_query", r"there is no query; give one under 'query' \(or set default_query\)"),
        ("", "empty_query", "the query '' is empty; say what to find under 'query'"),
        (" \t\n", "empty_query", "is empty; say what to find"),
        ((), "empty_query", "is empty"),
        (
            "x" * 10_000,
            "query_too_long",
            r"the query has 10000 characters, at most 2000 are legal; shorten it \(or raise max_characters\)",
        ),
        (
            {"a": 1},
            "not_text",
            r"the query \{'a': 1\} is of type dict, not text; quote it, or give it in a JSON datalist",
        ),
        (b"liver", "not_text", "is of type bytes, not text"),
        ("liver \ud800", "not_text", "is not valid Unicode text"),
    ],
)
def test_query_bad(query, reason, message):
    with pytest.raises(QueryError, match=message) as caught:
        ask(query)
    assert caught.value.reason == reason and reason in QUERY_FAILURES


def test_query_limits_are_arguments():
    assert ask("x" * 3000, max_characters=3000) == "x" * 3000
    with pytest.raises(QueryError, match="has 6 characters, at most 5"):
        ask("spleen", max_characters=5)


def test_default_query_is_for_a_missing_one_only():
    image = MetaTensor(torch.zeros(1, 1, 2, 2))
    assert QueryToMetad("image", default_query="liver")({"image": image})["image"].meta["query"] == "liver"
    assert "query" not in image.meta, "the input's meta data is left alone"
    assert ask("spleen", default_query="liver") == "spleen"
    with pytest.raises(QueryError, match="is empty"):
        ask(" ", default_query="liver")


def test_query_error_crosses_processes():
    error = pickle.loads(pickle.dumps(QueryError("empty_query", "text")))
    assert (error.reason, str(error)) == ("empty_query", "text")
    with pytest.raises(ValueError, match="'odd' must be one of"):
        QueryError("odd", "message")

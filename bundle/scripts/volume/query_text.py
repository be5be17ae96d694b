"""The user's query on its way into the image's meta data: text verbatim, and a clear error for what is no query."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..errors import ReasonedError

QUERY_FAILURES = ("missing_query", "not_text", "empty_query", "query_too_long")
MAX_CHARACTERS = 2000
"""The longest query, unless a config says otherwise."""


class QueryError(ReasonedError):
    """A query that cannot be used; its reasons are QUERY_FAILURES."""

    reasons = QUERY_FAILURES


class QueryToMetad(MapTransform):
    """Put the query's text into the image's meta data, verbatim: it is the image alone that reaches an inferer.

    Text that python-fire took for a tuple or a number on the command line becomes text again ("liver, spleen").
    The query itself, `data[query_key]`, is set to the same text.

    Args:
        keys: of MetaTensors whose `meta["query"]` is set.
        query_key: of the query in the data.
        default_query: used when the data has no query (missing or None); None: that is an error.
        max_characters: a longer query is an error.
        allow_missing_keys: skip keys that the data lacks.

    Raises:
        QueryError: see QUERY_FAILURES.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        query_key: str = "query",
        default_query: str | None = None,
        max_characters: int = MAX_CHARACTERS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.query_key = query_key
        self.default_query = default_query
        self.max_characters = max_characters

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        asked = dict(data)
        query = asked.get(self.query_key)
        asked[self.query_key] = check_query(self.default_query if query is None else query, self.max_characters)
        for key in self.key_iterator(asked):
            image = asked[key]
            asked[key] = MetaTensor(image.as_tensor(), meta=image.meta | {"query": asked[self.query_key]})
        return asked


def check_query(query: Any, max_characters: int = MAX_CHARACTERS) -> str:
    """The query as text.

    Args:
        query: text, or a tuple or a number that the command line made of it.
        max_characters: a longer query is an error.

    Raises:
        QueryError: see QUERY_FAILURES.
    """
    query = _as_text(query)
    if not query.strip():
        raise QueryError("empty_query", f"the query {query!r} is empty; say what to find under 'query'")
    if len(query) > max_characters:
        raise QueryError(
            "query_too_long",
            f"the query has {len(query)} characters, at most {max_characters} are legal; shorten it "
            "(or raise max_characters)",
        )
    return query


def _as_text(query: Any) -> str:
    """The query as text; tuples and numbers made of it by the command line are turned back."""
    if isinstance(query, (tuple, list)):
        query = ", ".join(_as_text(part) for part in query)
    if isinstance(query, (bool, int, float)):
        query = str(query)
    if query is None:
        raise QueryError("missing_query", "there is no query; give one under 'query' (or set default_query)")
    if not isinstance(query, str):
        raise QueryError(
            "not_text",
            f"the query {query!r} is of type {type(query).__name__}, not text; quote it, or give it in a JSON datalist",
        )
    try:
        query.encode()
    except UnicodeEncodeError as error:
        message = f"the query {query!r} is not valid Unicode text ({error.reason}); correct its encoding"
        raise QueryError("not_text", message) from error
    return query

"""The file behind `--queries`."""

from __future__ import annotations

from pathlib import Path

from ..json_list import read_json_list


class QueriesFileError(ValueError):
    """A file of queries that cannot be used."""


def read_queries(path: str | Path) -> list[str]:
    """The queries of a file, verbatim and in its order; what each says is judged with its volume.

    Args:
        path: a `.json` file with a list of texts, or a text in UTF-8 with a query a line, where blank lines do not
            count.

    Raises:
        QueriesFileError: it cannot be read, holds no query, or its list holds something else than texts.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        wanted = "a JSON list of texts"
        queries = read_json_list(path, "the list of queries", "option `--queries`", wanted, QueriesFileError)
        for number, query in enumerate(queries, start=1):
            if not isinstance(query, str):
                raise QueriesFileError(f"entry {number} of {path} is {query!r}; give a text (option `--queries`).")
        return queries
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        raise QueriesFileError(f"the queries {path} cannot be read as text in UTF-8: {error}.") from error
    queries = [line for line in lines if line.strip()]
    if not queries:
        raise QueriesFileError(f"{path} holds no query; give one a line (option `--queries`).")
    return queries

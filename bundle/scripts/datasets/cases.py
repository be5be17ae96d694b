"""Which cases to run: a datalist, one image from the command line, or a demo; and the dataset that prepares them.

A query is read by Python alone, from the JSON file or from `sys.argv`: python-fire and MONAI's config parser would
change it ("liver, spleen" becomes a tuple, "$..." is evaluated). What is left of that on the command line of
`monai.bundle run`: a query that starts with `%` stops the parser before anything here is asked, one that starts with
`--` is taken for an option, and one that starts with `$import` is executed. A datalist and the `medvol-r1` command have
no such limits.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import Dataset

from ..command_arguments import argument_text
from ..errors import failure_of
from .datalist import DatalistError, name_of_image, read_datalist

_logger = logging.getLogger(__name__)


def read_cases(
    datalist: str | Path | None = None,
    image: str | Path | None = None,
    demo: Callable[[], str | Path] | None = None,
    arguments: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The cases of a run.

    Args:
        datalist: a JSON list, see `datalist`.
        image: what the config's key `image` holds: given, one case is run, and its query is read from `arguments`.
        demo: writes the cases of a run that was given neither, and returns the path of their list. The config says
            which: nothing here knows of phantoms.
        arguments: of the command line; default: `sys.argv[1:]`.

    Returns:
        Dictionaries with `image`, `query` and `case`, and what else there is; case names are unique.

    Raises:
        DatalistError: the list cannot be read, or both or half of the two ways are given, or none and no demo.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if datalist is not None:
        if image is not None:
            raise DatalistError("both `datalist` and `image` are given; give one of them.")
        return read_datalist(datalist)
    query = argument_text(arguments, "query")
    if image is None:
        if query is not None:
            raise DatalistError(f"there is a query, {query!r}, and no image; add `--image FILE`.")
        if demo is None:
            raise DatalistError("there is nothing to do; give `datalist`, or `image` and a query.")
        return read_datalist(demo())
    if query is None:
        raise DatalistError(
            "there is an image and no query; add `--query TEXT` to the command line. "
            "A run that is started from Python takes a `datalist`."
        )
    path = argument_text(arguments, "image")
    path = str(image) if path is None else path
    return [{"image": path, "query": query, "case": name_of_image(path)}]


class CaseDataset(Dataset):
    """Prepares cases; one that cannot be prepared becomes a record of its failure instead of an error.

    Args:
        data: from `read_cases`.
        transform: the preprocessing.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable | None = None) -> None:
        super().__init__(data, transform)

    def _transform(self, index: int) -> dict[str, Any]:
        """The prepared case, or `{"case", "failure": {"case", "reason", "message"}}`."""
        case = self.data[index]["case"]
        try:
            return super()._transform(index)
        except Exception as error:  # whatever it is, the other cases are still to be done
            _logger.debug("case %s cannot be prepared", case, exc_info=True)
            return {"case": case, "failure": failure_of(error, case)}

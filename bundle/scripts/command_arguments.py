"""Texts of a command line, verbatim: to python-fire and MONAI's config parser a text is a value.

They read `--output_dir 2024_05_01` as a number, `a,b` as a tuple, `[run]` as a list, `a#b` as `a::b`, evaluate what
starts with `$`, and drop `None`. Whoever writes that means a folder of that name.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

PATH_OPTIONS = (
    *("output_dir", "dataset_dir", "cache_dir", "checkpoint_dir", "init_path"),
    *("datalist", "train_datalist", "validation_datalist", "image", "systems", "prior"),
    *("label_names", "queries_file"),
    *("lvlm_path", "lvlm_adapter", "medsam2_path", "tokenizer_path", "archive", "resume_from"),
)
"""Top-level keys of the configs that hold a path. `bundle_root` is not among them: it is needed to find this module."""


def argument_text(arguments: Sequence[str], name: str) -> str | None:
    """The text behind `--name`, or in `--name=text`, verbatim; the last one counts, None when there is none.

    Args:
        arguments: of the command line.
        name: with underscores; in the arguments dashes may stand for them, as python-fire has it.
    """
    found = None
    for position, argument in enumerate(arguments):
        option, equals, text = argument.partition("=")
        if not option.startswith("--") or option[2:].replace("-", "_") != name:
            continue
        if equals:
            found = text
        elif position + 1 < len(arguments):
            found = arguments[position + 1]
    return found


def restore_paths(resolved: MutableMapping[str, Any], arguments: Sequence[str] | None = None) -> None:
    """Replaces what MONAI made of the paths of `python -m monai.bundle run` by what was written there.

    This is the second step of a config's `initialize`, before anything refers to a path. It comes too late for a path
    that starts with `%`, which stops the parser, or with `$import`, which is executed.

    Args:
        resolved: what MONAI has resolved so far, by key; `__local_refs` in an expression of a config.
        arguments: of the command line; default: those of the process if it runs `monai.bundle`, else none.
    """
    if arguments is None:
        started = Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")
        arguments = sys.argv[1:] if started else ()
    for name in PATH_OPTIONS:
        text = argument_text(arguments, name)
        if name == "lvlm_adapter" and text is not None and text.startswith("["):
            continue  # the one option that may be a list of paths, which MONAI has read
        if text is not None and not text.startswith("--"):  # else: an option without a value, then the next option
            resolved[name] = text


def literal(text: str) -> str:
    r"""A config's value that stands for this very text: an expression of escapes alone, in which MONAI finds nothing.

    >>> literal("$a")
    "$'\\U00000024\\U00000061'"
    """
    return "$'" + "".join(f"\\U{ord(character):08x}" for character in text) + "'"

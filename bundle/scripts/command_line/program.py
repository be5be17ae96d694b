"""What the command does with its arguments."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from ..command_arguments import literal
from ..errors import message_of
from .options import parse
from .queries_file import read_queries

SOME_FAILED = 3
"""Exit status when cases could not be processed."""


class _Answered(NamedTuple):
    """What became of the cases, see `CaseWriter`."""

    rows: list[dict[str, Any]]
    failures: list[dict[str, str]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: default: those of the process.

    Raises:
        SystemExit: with a message, or with the status that the package's docstring lists.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["serve"]:
        _serve(arguments[1:])
        return
    options = parse(arguments)
    bundle_root = find_bundle()
    named = [options.queries, options.datalist]
    _check_files([*options.images, *options.config_file, *(path for path in named if path is not None)])
    try:
        with redirect_stdout(sys.stderr) if options.json else nullcontext(), _datalist(options) as datalist:
            answered = _answered(options, bundle_root, datalist)
    except Exception as error:
        if options.traceback:
            raise
        raise SystemExit(f"medvol-r1: {message_of(error)}\n(--traceback shows where)") from error
    if options.json:
        print(json.dumps({"cases": answered.rows, "failures": answered.failures}, indent=2, ensure_ascii=False))
    if answered.failures:
        raise SystemExit(SOME_FAILED)


def _serve(arguments: Sequence[str]) -> None:
    """Opens the page.

    Raises:
        SystemExit: what serves pages is not installed.
    """
    try:
        # Here: neither --help nor a run at a terminal needs a web framework.
        server = importlib.import_module("..web.serve", __package__)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"medvol-r1: the package {error.name} is not installed, and `medvol-r1 serve` needs it: "
            '`python -m pip install -c constraints.txt -e ".[serve]"` in the clone, or `pip install "medvol-r1[serve]"`'
        ) from error
    server.main(arguments)


def find_bundle() -> Path:
    """The bundle's folder, which holds `configs`.

    Raises:
        SystemExit: the package was installed without it.
    """
    bundle_root = Path(__file__).resolve().parents[2]
    if not (bundle_root / "configs" / "inference.json").is_file():
        raise SystemExit(
            f"medvol-r1: no configs/inference.json in {bundle_root}. The command runs from a clone: "
            "install it there with `python -m pip install -c constraints.txt -e .`"
        )
    return bundle_root


def _check_files(paths: Sequence[str]) -> None:
    """Reports a mistyped path at once, before the slow imports.

    Raises:
        SystemExit: a path does not exist.
    """
    for path in paths:
        if not Path(path).exists():
            raise SystemExit(f"medvol-r1: {path} does not exist; correct the path.")


@contextmanager
def _datalist(options: argparse.Namespace) -> Iterator[str]:
    """The path of the list of all cases: the user's, or one that is there for the time of the run."""
    if options.datalist is not None:
        yield options.datalist
        return
    queries = [options.query] if options.queries is None else read_queries(options.queries)
    from .asked_cases import asked_cases  # here: its imports take seconds, and a mistyped query file needs none

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "datalist.json"
        path.write_text(json.dumps(asked_cases(options.images, queries)), encoding="utf-8")
        yield str(path)


def _answered(options: argparse.Namespace, bundle_root: Path, datalist: str) -> _Answered:
    """Runs the cases, those that take the same configs together."""
    from ..datasets.datalist import read_datalist  # here: --help and a mistyped path need no torch
    from .case_configs import lists_by_configs

    cases = read_datalist(datalist)
    with tempfile.TemporaryDirectory() as folder:
        lists = lists_by_configs(cases, folder)
        if len(lists) == 1:
            lists = dict.fromkeys(lists, datalist)  # as the user wrote it
        writers = []
        for names, path in lists.items():
            configs = [*(str(bundle_root / "configs" / name) for name in names), *options.config_file]
            writers.append(_run(configs, _settings(options, bundle_root, path)))
    place = {case["case"]: number for number, case in enumerate(cases)}
    found = ([one for writer in writers for one in getattr(writer, name)] for name in _Answered._fields)
    return _Answered(*(sorted(those, key=lambda one: place[one["case"]]) for those in found))


def _settings(options: argparse.Namespace, bundle_root: Path, datalist: str) -> dict[str, Any]:
    """What the user has said, by key of the configs."""
    texts = {"bundle_root": str(bundle_root), "datalist": datalist, "output_dir": options.output_dir}
    named = {key: getattr(options, key) for key in ("device", "lvlm_path")}
    texts |= {key: text for key, text in named.items() if text is not None}
    settings: dict[str, Any] = {key: literal(text) for key, text in texts.items()}
    chosen = {key: getattr(options, key) for key in ("intensity", "answer_form")}
    settings |= {key: choice for key, choice in chosen.items() if choice is not None}
    if options.save_dicom_seg is not None:
        settings["save_dicom_seg"] = options.save_dicom_seg == "True"
    return settings


def _run(configs: list[str], settings: dict[str, Any]) -> Any:
    """The `CaseWriter` of a run, which knows what became of each case."""
    from monai.bundle import ConfigWorkflow  # here: it takes ten seconds, and --help does not need it

    config_root = Path(configs[0]).parent
    workflow = ConfigWorkflow(
        config_file=configs,
        meta_file=str(config_root / "metadata.json"),
        logging_file=str(config_root / "logging.conf"),
        workflow_type="infer",
        **settings,
    )
    workflow.initialize()
    writer = workflow.parser.get_parsed_content("writer")
    try:
        workflow.run()
    except SystemExit as ended:  # the last step of `run`, where cases have failed
        if not writer.failures:
            raise
        print(f"medvol-r1: {ended}", file=sys.stderr)
    workflow.finalize()
    return writer

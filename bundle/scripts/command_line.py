"""The `medvol-r1` command: one image, one query, verbatim; the same `inference.json` underneath.

    medvol-r1 ct.nii.gz "the organ that makes bile" --output_dir output

A query that starts with a dash goes behind `--`: `medvol-r1 ct.nii.gz -- "-query"`.

`medvol-r1 serve ...` opens the page in the browser, see `web.serve`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .command_arguments import literal


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: default: those of the process.

    Raises:
        SystemExit: with a message and a status that is not zero, when the case could not be processed.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["serve"]:
        _serve(arguments[1:])
        return
    options = _parser().parse_args(arguments)
    bundle_root = find_bundle()
    _check_files([options.image, *options.config_file])
    with tempfile.TemporaryDirectory() as folder:
        datalist = Path(folder) / "datalist.json"
        entry = {"image": str(Path(options.image).absolute()), "query": options.query}
        datalist.write_text(json.dumps([entry]), encoding="utf-8")
        overrides = {"bundle_root": str(bundle_root), "datalist": str(datalist), "output_dir": options.output_dir}
        if options.device is not None:
            overrides["device"] = options.device
        settings: dict[str, Any] = {key: literal(text) for key, text in overrides.items()}
        if options.save_dicom_seg is not None:
            settings["save_dicom_seg"] = options.save_dicom_seg == "True"
        configs = [str(bundle_root / "configs" / "inference.json"), *options.config_file]
        try:
            _run(configs, bundle_root / "configs", settings)
        except Exception as error:
            if options.traceback:
                raise
            raise SystemExit(f"medvol-r1: {_innermost(error)}\n(--traceback shows where)") from error


def _serve(arguments: Sequence[str]) -> None:
    """Opens the page.

    Raises:
        SystemExit: what serves pages is not installed.
    """
    try:
        # Here: neither --help nor a run at a terminal needs a web framework.
        server = importlib.import_module(".web.serve", __package__)
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
    bundle_root = Path(__file__).resolve().parents[1]
    if not (bundle_root / "configs" / "inference.json").is_file():
        raise SystemExit(
            f"medvol-r1: no configs/inference.json in {bundle_root}. The command runs from a clone: "
            "install it there with `python -m pip install -c constraints.txt -e .`"
        )
    return bundle_root


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medvol-r1",
        description="Segment what a query asks for in a CT volume.",
        epilog="`medvol-r1 serve` opens a page in the browser instead; `medvol-r1 serve --help` has its options.",
    )
    parser.add_argument("image", metavar="IMAGE", help="a CT in HU: .nii, .nii.gz, or the folder of a DICOM series")
    parser.add_argument("query", metavar="QUERY", help="what to find, in words; taken verbatim")
    parser.add_argument("--output_dir", default="output", help="default: %(default)s")
    parser.add_argument(
        "--config_file", nargs="+", default=[], metavar="OVERLAY", help="configs on top of inference.json, in order"
    )
    parser.add_argument(
        "--save_dicom_seg", choices=("True", "False"), help="also write the mask of a DICOM series as DICOM SEG"
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: what the configs say")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return parser


def _check_files(paths: Sequence[str]) -> None:
    """Reports a mistyped path at once, before the slow imports.

    Raises:
        SystemExit: a path does not exist.
    """
    for path in paths:
        if not Path(path).exists():
            raise SystemExit(f"medvol-r1: {path} does not exist; correct the path.")


def _run(configs: list[str], config_root: Path, overrides: dict[str, Any]) -> None:
    from monai.bundle import ConfigWorkflow  # here: it takes ten seconds, and --help does not need it

    workflow = ConfigWorkflow(
        config_file=configs,
        meta_file=str(config_root / "metadata.json"),
        logging_file=str(config_root / "logging.conf"),
        workflow_type="infer",
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def _innermost(error: BaseException) -> str:
    """What our code said, without MONAI's wrapping: the error that names a reason, or the last of the chain."""
    while error.__cause__ is not None and isinstance(error, RuntimeError):
        error = error.__cause__
    return str(error) or type(error).__name__


if __name__ == "__main__":
    main()

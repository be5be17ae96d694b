"""The arguments of the command. A query is taken verbatim; one that starts with a dash goes behind `--`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_USAGE = """medvol-r1 IMAGE [IMAGE ...] QUERY [options]
       medvol-r1 IMAGE [IMAGE ...] --queries FILE [options]
       medvol-r1 --datalist FILE [options]
       medvol-r1 serve [--help]"""

# Of what is asked about, never of a question.
_ENDINGS = (".nii", ".nii.gz", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")

_EPILOG = """exit status:
  0  every case was answered
  1  nothing was asked, or the run broke off
  2  the arguments are wrong
  3  some cases could not be processed; the others are written

`medvol-r1 serve` opens a page in the browser instead; `medvol-r1 serve --help` has its options."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; `images` are paths, `query` is a text, or None where a file holds the queries.

    Raises:
        SystemExit: of `argparse`, status 2 for arguments that do not fit, 0 for `--help`.
    """
    # argparse itself loses the `--` of options between the others in some versions of Python.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _parser()
    options = parser.parse_intermixed_args(arguments[:end])
    options.images, options.query = [*options.inputs, *arguments[end + 1 :]], None
    if options.datalist is not None:
        if options.images or options.queries is not None:
            parser.error("--datalist names images and queries; give no others")
    elif options.queries is None:
        if len(options.images) < 2:
            parser.error("give an image and a query, several images and --queries FILE, or --datalist FILE")
        options.query = options.images.pop()
        if options.query.lower().endswith(_ENDINGS) and Path(options.query).is_file():
            parser.error(f"the query comes last, and {options.query} is a file; add a query, or --queries FILE")
    elif not options.images:
        parser.error("--queries asks about images; name one or more of them")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medvol-r1",
        usage=_USAGE,
        description="Segment what a query asks for in a CT volume or an image.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="IMAGE ... QUERY",
        help="CTs in HU: .nii, .nii.gz, the folder of a DICOM series; single images: PNG, JPEG, TIFF, DICOM; or a "
        "folder of such files or series; then what to find, in words",
    )
    parser.add_argument("--queries", metavar="FILE", help="ask each line of a text, or each text of a JSON list")
    parser.add_argument("--datalist", metavar="FILE", help='a JSON list of {"image", "query", "label"?, "case"?}')
    parser.add_argument("--output_dir", default="output", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, all else to stderr")
    parser.add_argument(
        "--config_file", nargs="+", default=[], metavar="OVERLAY", help="configs on top of inference.json, in order"
    )
    parser.add_argument(
        "--save_dicom_seg", choices=("True", "False"), help="also write the mask of a DICOM series as DICOM SEG"
    )
    parser.add_argument(
        "--intensity",
        choices=("ct", "percentiles", "full_range"),
        help="what voxel values are: HU, or any scale (MR, ultrasound, PET: percentiles); default: what the configs "
        "say, ct for volumes and full_range for single images",
    )
    parser.add_argument("--lvlm_path", metavar="FOLDER", help="the language model; default: what the configs say")
    parser.add_argument(
        "--answer_form",
        choices=("boxes", "boxes_and_points", "image"),
        help="in which the language model was trained to answer; default: what the configs say, boxes for volumes and "
        "image for single images",
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: what the configs say")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return parser

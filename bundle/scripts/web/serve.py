"""`medvol-r1 serve`: the page and its API, on this machine.

    medvol-r1 serve --studies FOLDER

Models and weights are those of `inference.json` and the overlays that are named.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import fastapi  # noqa: F401  (what is missing is said before anything slow is imported)
import uvicorn

from ..errors import message_of

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
KEY_VARIABLE = "MEDVOL_R1_KEY"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until it is stopped.

    Args:
        arguments: default: those of the process.

    Raises:
        SystemExit: an argument that cannot be used, or weights that cannot be read.
    """
    options = _parser().parse_args(arguments)
    key = options.key if options.key is not None else os.environ.get(KEY_VARIABLE)
    _check(options, key)
    from ..service.start import started_service  # here: it takes ten seconds, and --help does not need it
    from .api import LOOPBACK, create_app

    try:
        configs = [BUNDLE_ROOT / "configs" / "inference.json", *options.config_file]
        service = started_service(configs, BUNDLE_ROOT, options.studies, round(options.memory * 2**30))
    except Exception as error:
        raise SystemExit(f"medvol-r1 serve: {message_of(error)}") from error
    hosts = LOOPBACK if _is_loopback(options.host) else ("*",)
    config = uvicorn.Config(
        create_app(service, key, hosts),
        host=options.host,
        port=options.port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    socket = config.bind_socket()
    print(f"MedVol-R1 is open at http://{options.host}:{socket.getsockname()[1]} (stop it with Ctrl+C)", flush=True)
    uvicorn.Server(config).run(sockets=[socket])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medvol-r1 serve", description="Ask, see and correct in the browser.")
    parser.add_argument("--studies", metavar="DIR", help="studies below this folder may be opened; default: none")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine alone")
    parser.add_argument("--key", help=f"that users must know; default: the environment's {KEY_VARIABLE}, or none")
    parser.add_argument(
        "--config_file", nargs="+", default=[], metavar="OVERLAY", help="configs on top of inference.json, in order"
    )
    parser.add_argument(
        "--memory", type=float, default=4.0, metavar="GIB", help="for what is kept of studies; default: %(default)s"
    )
    return parser


def _check(options: argparse.Namespace, key: str | None) -> None:
    """Before the slow imports.

    Raises:
        SystemExit: an argument that cannot be used.
    """
    for path in options.config_file:
        if not Path(path).is_file():
            raise SystemExit(f"medvol-r1 serve: {path} does not exist; correct the path of --config_file.")
    if options.studies is not None and not Path(options.studies).is_dir():
        raise SystemExit(f"medvol-r1 serve: --studies {options.studies} is no folder; name the one of your CT volumes.")
    if key == "":
        raise SystemExit("medvol-r1 serve: the key is empty; give a text, or none at all.")
    if key is None and not _is_loopback(options.host):
        raise SystemExit(
            f"medvol-r1 serve: {options.host} is open to other machines, and there is no key; "
            f"give --key TEXT, or set {KEY_VARIABLE}."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()

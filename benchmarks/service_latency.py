"""How long a user of `medvol-r1 serve` waits for a study, its first answer, the next ones, and a correction.

    python benchmarks/service_latency.py --image ct.nii.gz

What is kept of the study is printed as well, in MiB. Times are those of the service itself, without HTTP.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from medvol_r1.service.request_queue import Request
from medvol_r1.service.start import started_service

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
QUERIES = ("the liver", "the spleen", "the left kidney")


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", required=True, type=Path, help="a CT: .nii, .nii.gz")
    parser.add_argument("--config_file", nargs="*", default=[], help="overlays on inference.json")
    options = parser.parse_args()
    start = time.perf_counter()
    configs = [BUNDLE / "configs" / "inference.json", *options.config_file]
    service = started_service(configs, BUNDLE, options.image.parent)
    show("weights read", time.perf_counter() - start, service.memory.bytes)
    study = timed("study opened", lambda: service.open("user", options.image.name), service)
    timed("first slice shown", lambda: service.voxels(study), service)
    for query in QUERIES:
        request = timed(f"answered: {query}", lambda query=query: over(service.ask("user", study.id, query)), service)
        record = study.mask(request.mask).current.record
        print(f"    {record['status']}, of these {record['seconds']}")
    middle = study.geometry.source_index[len(study.geometry.source_index) // 2]
    left, top, right, bottom = study.geometry.shown_xyxy_px
    box = [left + (right - left) / 3, top + (bottom - top) / 3, right - (right - left) / 3, bottom - (bottom - top) / 3]
    timed("corrected", lambda: over(service.correct("user", study.id, QUERIES[0], int(middle), [box])), service)
    service.close("user", study.id)
    show("closed", 0.0, service.memory.bytes)
    service.shut_down()


def over(request: Request) -> Request:
    """Waits for a request."""
    while not request.is_over:
        time.sleep(0.005)
    if request.state != "done":
        raise RuntimeError(f"the request {request.state}: {request.error}")
    return request


def timed(name: str, work: Callable, service) -> object:
    """Does something, and prints how long it took."""
    start = time.perf_counter()
    result = work()
    show(name, time.perf_counter() - start, service.memory.bytes)
    return result


def show(name: str, seconds: float, kept: int) -> None:
    """A line of the result."""
    print(f"{name:28} {seconds:7.2f} s   kept {kept / 2**20:7.1f} MiB", flush=True)


if __name__ == "__main__":
    main()

"""What MONAI's model zoo asks of a bundle, as a Markdown table; the exit status is 1 if anything failed.

    python benchmarks/zoo_check.py                       (the schema of the metadata is downloaded)
    python benchmarks/zoo_check.py --schema schema.json  (without network)
    python benchmarks/zoo_check.py --configs inference.json evaluate.json

The steps are those of the zoo's `ci/verify_bundle.py` and of its unit tests, which initialise every config, ask for its
properties, run it and finalise it, here with few and small volumes. A config that needs what is not here says what.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
CONFIGS, METADATA = BUNDLE / "configs", BUNDLE / "configs" / "metadata.json"
REQUIRED = (
    "LICENSE configs/metadata.json configs/inference.json configs/train.json configs/logging.conf models/model.pt "
    "docs/README.md docs/data_license.txt large_files.yml"
).split()
LARGEST_BYTES = 25_000_000
# What these run on is not in a clone; the tests run them on stand-ins.
NOT_HERE = {
    "benchmark.json": "masks of other systems; tests/benchmark",
    "medsam2_t512.json": "MedSAM2's weights; tests/medsam2",
    "multi_gpu.json": "torchrun; tests/training/test_distributed.py",
    "prepare.json": "a data set, and it has no network; tests/preparation",
    "propagator_clips.json": "what stage 1 wrote; tests/propagator_training",
    "propagator_points.json": "32 pixels, for it goes on the shipped weights; tests/propagator_training",
    "propagator_long_clips.json": "what stage 2 wrote; tests/propagator_training",
    "qwen3vl_4b.json": "Qwen3-VL's weights; tests/test_configs.py",
    "qwen3vl_4b_grpo.json": "Qwen3-VL's weights; tests/test_configs.py",
    "qwen3vl_4b_trl.json": "Qwen3-VL's weights; tests/training/test_trl_config.py",
    "umrg/lingshu_7b.json": "Lingshu's weights; tests/umrg",
    "umrg/lingshu_7b_grpo.json": "Lingshu's weights; tests/umrg",
    "served_lvlm.json": "a served model; tests/served_lvlm",
}
# Laid over every config that has the key.
SMALL = {
    "device": "cpu",
    "picture": False,
    "pictures": False,
    "num_slices": 4,
    "slice_size": 32,
    "lvlm_slice_size": 32,
    "image_size": 32,
    "max_new_tokens": 8,
    "phantoms_per_subset": 1,
    "queries_per_phantom": 1,
    "queries_per_volume": 1,
    "num_generations": 2,
    "max_steps": 1,
    "minutes": 0.1,
    "epochs": 1,
    "epoch_length": 1,
    "batch_size": 1,
    "clips": 2,
    "random_volumes": 2,
    "phantom_volumes": 1,
    "validation_volumes": 1,
    "bootstrap_samples": 10,
}


class Row(NamedTuple):
    """A step, how it went ("ok", "failed" or "not run"), and what there is to say."""

    step: str
    result: str
    detail: str


class NotRun(Exception):
    """A step that cannot be taken here, and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schema", help="the file that the metadata names under `schema`; default: it is downloaded")
    parser.add_argument("--configs", nargs="*", metavar="CONFIG", help="run these alone; default: all of them")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(BUNDLE))  # the zoo's checks come with PYTHONPATH=bundle
    torch.manual_seed(0)
    configs = all_configs() if options.configs is None else options.configs
    steps: list[tuple[str, Callable[[], str]]] = [
        ("files", check_files),
        ("file sizes", check_sizes),
        ("version in changelog", check_version),
        ("large_files.yml", check_large_files),
        ("verify_metadata", lambda: check_metadata(options.schema)),
        ("verify_net_in_out", check_network),
        ("TorchScript export", check_torchscript),
        *((f"run {name}", lambda name=name: check_config(name)) for name in configs),
    ]
    rows = [row_of(step, check) for step, check in steps]
    print("| step | result | |\n|---|---|---|")
    for row in rows:
        print(f"| {row.step} | {row.result} | {row.detail} |")
    return int(any(row.result == "failed" for row in rows))


def row_of(step: str, check: Callable[[], str]) -> Row:
    """Takes a step; whatever it raises is its result."""
    try:
        with redirect_stdout(sys.stderr):  # the table is all that is printed
            return Row(step, "ok", check())
    except NotRun as reason:
        return Row(step, "not run", str(reason))
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        while error.__cause__ is not None:  # MONAI wraps what a component raises
            error = error.__cause__
        return Row(step, "failed", f"{type(error).__name__}: {error}".splitlines()[0])


def all_configs() -> list[str]:
    """Every config by its path below `configs`."""
    found = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.json") if path != METADATA)
    return sorted(found, key=lambda name: name in NOT_HERE)


def check_files() -> str:
    """What the bundle's specification and the zoo's guide want to be there."""
    missing = [name for name in REQUIRED if not (BUNDLE / name).is_file()]
    if missing:
        raise FileNotFoundError(f"not in {BUNDLE}: {', '.join(missing)}")
    return f"{len(REQUIRED)} required files"


def check_sizes() -> str:
    """No file in git is larger than the zoo allows."""
    listed = subprocess.run(["git", "ls-files", "-z", "."], cwd=BUNDLE, check=True, capture_output=True, text=True)
    sizes = {name: (BUNDLE / name).stat().st_size for name in listed.stdout.split("\0") if name}
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > LARGEST_BYTES:
        raise ValueError(f"{largest} has {sizes[largest] / 1e6:.1f} MB; at most 25 MB, more goes to large_files.yml")
    return f"{len(sizes)} files, the largest {largest}, {sizes[largest] / 1e6:.1f} MB"


def check_version() -> str:
    """The version has a line in the changelog of the metadata."""
    metadata = json.loads(METADATA.read_text())
    if metadata["version"] not in metadata["changelog"]:
        raise ValueError(f"version {metadata['version']} is not in the changelog of metadata.json")
    return metadata["version"]


def check_large_files() -> str:
    """The list of the real weights names the places where the configs look for them, and its addresses are fixed."""
    files = yaml.safe_load((BUNDLE / "large_files.yml").read_text())["large_files"]
    config = ConfigParser.load_config_file(CONFIGS / "qwen3vl_4b.json")
    for key in ("lvlm_path", "medsam2_path"):
        place = config[key].split("/", 1)[1].rstrip("'")
        if not any(file["path"].startswith(place) for file in files):
            raise ValueError(f"nothing goes to {place}, where {key} of qwen3vl_4b.json looks")
    return f"{len(files)} files, {sum('hash_val' in file for file in files)} with a hash; not downloaded"


def check_metadata(schema: str | None) -> str:
    """metadata.json fits the schema that it names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(schema or Path(folder) / "schema.json")
        if schema and not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        try:
            verify_metadata(meta_file=str(METADATA), filepath=str(path))
        except URLError as error:
            raise NotRun(f"the schema cannot be downloaded ({error.reason}); give it with --schema") from error
    return json.loads(METADATA.read_text())["schema"].rsplit("/", 1)[1]


def check_network() -> str:
    """The network takes and gives what the metadata says."""
    config = str(CONFIGS / "inference.json")
    verify_net_in_out("network_def", str(METADATA), config, device="cpu", bundle_root=str(BUNDLE))
    return "network_def of inference.json"


def check_torchscript() -> str:
    """The zoo lists the bundles that cannot be exported; this one is of them."""
    raise NotRun("a language model that writes text has no TorchScript; the zoo has a list of such bundles")


def check_config(name: str) -> str:
    """A config with those that it lies on: initialised, its properties complete, run and finalised."""
    if name in NOT_HERE:
        raise NotRun(f"needs {NOT_HERE[name]}")
    stack = stack_of(name)
    config = ConfigParser.load_config_files([str(file) for file in stack])
    with tempfile.TemporaryDirectory() as folder:
        small: dict[str, Any] = {key: value for key, value in SMALL.items() if key in config}
        if config.get("num_slices") == 1:  # of images
            del small["num_slices"]
        workflow = ConfigWorkflow(
            config_file=[str(file) for file in stack],
            meta_file=str(METADATA),
            logging_file=str(CONFIGS / "logging.conf"),
            workflow_type="train" if "train#trainer" in ConfigParser(config) else "infer",
            bundle_root=str(BUNDLE),
            output_dir=folder,
            **small,
        )
        workflow.initialize()
        missing = workflow.check_properties()
        if missing:
            raise ValueError(f"check_properties misses {missing}")
        workflow.run()
        workflow.finalize()
        written = sum(path.is_file() for path in Path(folder).rglob("*"))
    return f"{' + '.join(str(file.relative_to(CONFIGS)) for file in stack)}: properties complete, ran, {written} files"


def stack_of(name: str) -> list[Path]:
    """The files that the config's command names, in order."""
    command = json.loads((CONFIGS / name).read_text())["_command_"]
    named = re.findall(r"configs/([\w/]+\.json)", command if isinstance(command, str) else " ".join(command))
    return [CONFIGS / file for file in dict.fromkeys(named)]


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # MONAI's log goes to stdout, as the table does
    sys.exit(main())

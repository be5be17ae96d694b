"""The results of a benchmark as tables, all systems side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.tables import interval, plain, table

Block = Mapping[str, Any]

_SCORES = {"DSC_macro": 3, "DSC_mean": 3, "IoU_mean": 3, "NSD_mean": 3, "HD95_mm_mean": 1}


def benchmark_row(name: str, block: Block) -> dict[str, Any]:
    """A system's line of `benchmark.csv`.

    Args:
        name: of the system.
        block: its results, see `mask_benchmark.MaskBenchmark`.
    """
    counts = block["counts"]
    row: dict[str, Any] = {"system": name, **{key: counts[key] for key in ("queries", "present", "absent")}}
    row |= {"refused": counts["errors"], "resampled": block["resampled"]}
    for prefix, part in (("", block["present"]), ("answered_", block["answered"]), ("common_", block["common"])):
        row[f"{prefix}n"] = part["n"]
        for score in _SCORES:
            row |= {
                f"{prefix}{score}": part[score]["value"],
                f"{prefix}{score}_low": part[score]["low"],
                f"{prefix}{score}_high": part[score]["high"],
            }
    return row | {
        "common_DSC_minus_first": block["common"]["DSC_minus_first"]["value"],
        "answered_false_positive_rate": block["absent_answered"]["false_positive_rate"]["value"],
    }


def benchmark_report(results: Block) -> str:
    """The text of `benchmark.md`."""
    systems: Mapping[str, Block] = results["systems"]
    counts = next(iter(systems.values()))["counts"]
    common = max(block["common"]["n"] for block in systems.values())
    parts = [
        "# Benchmark",
        f"{counts['queries']} queries about {counts['volumes']} volumes of {counts['patients']} patients; the target "
        f"of {counts['absent']} is not there. In brackets: 95% bootstrap intervals over patients. NSD at "
        f"{results['tolerance_mm']:g} mm. How each number is defined: `bundle/docs/evaluation.md`.",
        "## Targets that are there",
        "A query without an answer (a refused mask) counts as DSC 0; the last column leaves it out.",
        _scores(systems),
    ]
    if len(systems) > 1:
        parts += [
            f"### The {common} of them that every system answered",
            "Systems that answered none are left out.",
            _common(systems),
        ]
    parts += ["### DSC of each target", _targets(systems)]
    if counts["absent"]:
        parts += ["## Targets that are not there", _absent(systems)]
    refused = _refused(systems)
    return "\n\n".join([*parts, *(["## Refused", refused] if refused else [])]) + "\n"


def _scores(systems: Mapping[str, Block]) -> str:
    header = ["system", "n", "answered", "resampled", "DSC, macro", "DSC, mean", "IoU, mean", "NSD", "HD95 (mm)"]
    rows = [
        [
            name,
            str(block["present"]["n"]),
            str(block["answered"]["n"]),
            str(block["resampled"]),
            *(interval(block["present"][score], digits) for score, digits in _SCORES.items()),
            interval(block["answered"]["DSC_mean"]),
        ]
        for name, block in systems.items()
    ]
    return table([*header, "DSC, mean of answered"], rows)


def _common(systems: Mapping[str, Block]) -> str:
    header = ["system", "DSC, macro", "DSC, mean", "DSC minus the first system's", "IoU, mean", "NSD", "HD95 (mm)"]
    rows = []
    for name, block in systems.items():
        if not block["answered"]["n"]:
            continue
        macro, mean, *others = (interval(block["common"][score], digits) for score, digits in _SCORES.items())
        rows.append([name, macro, mean, interval(block["common"]["DSC_minus_first"]), *others])
    return table(header, rows)


def _targets(systems: Mapping[str, Block]) -> str:
    blocks = {name: block["present"]["by"]["target"] for name, block in systems.items()}
    targets = list(next(iter(blocks.values())))
    rows = [
        [
            target,
            str(next(iter(blocks.values()))[target]["n"]),
            *(plain(by[target]["DSC_mean"]) for by in blocks.values()),
        ]
        for target in targets
    ]
    return table(["target", "n", *blocks], rows)


def _absent(systems: Mapping[str, Block]) -> str:
    rows = [
        [
            name,
            str(block["absent"]["n"]),
            str(block["absent_answered"]["n"]),
            interval(block["absent_answered"]["false_positive_rate"]),
        ]
        for name, block in systems.items()
    ]
    return table(["system", "n", "answered", "false positives of answered"], rows)


def _refused(systems: Mapping[str, Block]) -> str:
    rows = [
        [name, reason, str(found["n"]), found["first"].replace("|", "/").replace("\n", " ")]
        for name, block in systems.items()
        for reason, found in block["refused"].items()
    ]
    return table(["system", "reason", "n", "first message"], rows) if rows else ""

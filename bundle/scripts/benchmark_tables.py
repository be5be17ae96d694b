"""The results of a benchmark as tables, all systems side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .score_tables import interval, plain, table

Block = Mapping[str, Any]

_SCORES = {"DSC_macro": 3, "DSC_mean": 3, "IoU_mean": 3, "NSD_mean": 3, "HD95_mm_mean": 1}


def benchmark_row(name: str, block: Block) -> dict[str, Any]:
    """A system's line of `benchmark.csv`.

    Args:
        name: of the system.
        block: its results, see `mask_benchmark.MaskBenchmark`.
    """
    counts, present, common = block["counts"], block["present"], block["common"]
    row: dict[str, Any] = {"system": name, **{key: counts[key] for key in ("queries", "present", "absent")}}
    row |= {"refused": counts["errors"], "resampled": block["resampled"]}
    for prefix, part in (("", present), ("common_", common)):
        row[f"{prefix}n"] = part["n"]
        for score in _SCORES:
            row |= {
                f"{prefix}{score}": part[score]["value"],
                f"{prefix}{score}_low": part[score]["low"],
                f"{prefix}{score}_high": part[score]["high"],
            }
    return row | {
        "common_DSC_minus_first": common["DSC_minus_first"]["value"],
        "false_positive_rate": block["absent"]["false_positive_rate"]["value"],
    }


def benchmark_report(results: Block) -> str:
    """The text of `benchmark.md`."""
    systems: Mapping[str, Block] = results["systems"]
    counts = next(iter(systems.values()))["counts"]
    common = next(iter(systems.values()))["common"]["n"]
    parts = [
        "# Benchmark",
        f"{counts['queries']} queries about {counts['volumes']} volumes of {counts['patients']} patients; the target "
        f"of {counts['absent']} is not there. In brackets: 95% bootstrap intervals over patients. NSD at "
        f"{results['tolerance_mm']:g} mm. How each number is defined: `bundle/docs/evaluation.md`.",
        "## Targets that are there",
        "A refused mask counts as DSC 0.",
        _scores(systems, "present"),
    ]
    if any(block["counts"]["errors"] for block in systems.values()):
        parts += [f"### The {common} of them that every system answered", _common(systems)]
    elif len(systems) > 1:
        parts += ["### Difference in DSC from the first system", _common(systems)]
    parts += ["### DSC of each target", _targets(systems)]
    if counts["absent"]:
        parts += ["## Targets that are not there", _absent(systems)]
    refused = _refused(systems)
    return "\n\n".join([*parts, *(["## Refused", refused] if refused else [])]) + "\n"


def _scores(systems: Mapping[str, Block], part: str) -> str:
    header = ["system", "n", "refused", "resampled", "DSC, macro", "DSC, mean", "IoU, mean", "NSD", "HD95 (mm)"]
    rows = [
        [
            name,
            str(block[part]["n"]),
            str(block["counts"]["errors"]),
            str(block["resampled"]),
            *(interval(block[part][score], digits) for score, digits in _SCORES.items()),
        ]
        for name, block in systems.items()
    ]
    return table(header, rows)


def _common(systems: Mapping[str, Block]) -> str:
    header = ["system", "DSC, macro", "DSC, mean", "DSC minus the first system's", "IoU, mean", "NSD", "HD95 (mm)"]
    rows = []
    for name, block in systems.items():
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
        [name, str(block["absent"]["n"]), interval(block["absent"]["false_positive_rate"])]
        for name, block in systems.items()
    ]
    return table(["system", "n", "false positives"], rows)


def _refused(systems: Mapping[str, Block]) -> str:
    rows = [
        [name, reason, str(found["n"]), found["first"].replace("|", "/").replace("\n", " ")]
        for name, block in systems.items()
        for reason, found in block["refused"].items()
    ]
    return table(["system", "reason", "n", "first message"], rows) if rows else ""

"""The numbers of `metrics.json` as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..umrg.published import PUBLISHED
from .columns import BOUNDS

Block = Mapping[str, Any]

_TITLES = {
    "type": "Query type",
    "implicitness": "Implicitness",
    "target": "Target",
    "size": "Size of the target",
    "laterality": "Side asked for",
    "slice_thickness": "Slice thickness",
}


def summary_tables(metrics: Block) -> list[str]:
    """All tables of `statistics.statistics`, each with its heading."""
    present, absent = metrics["present"], metrics["absent"]
    groups = {f"`{name}`": block for name, block in present["by"]["subset"].items()}
    groups = {**groups, "all": present} if len(groups) != 1 else {"all": present}
    tables = ["## Targets that are there", _overlap(groups), _means(groups)]
    tables += ["### Grounding", _grounding(groups)]
    bounds = [bound for bound in BOUNDS if f"{bound}_DSC_macro" in present]
    if bounds:
        tables += ["### Bounds", _bounds(groups, bounds, "macro"), _bounds(groups, bounds, "mean")]
    if present["marks_iou"]["n"]:
        by_type = {f"type `{name}`": block for name, block in present["by"]["type"].items()}
        tables += ["### Box, points and mask", _marks({**groups, **by_type}), _published()]
    tables += ["### Side and wording", _robustness(groups)]
    for key, title in _TITLES.items():
        if present["by"][key]:
            tables += [f"### {title}", _breakdown(title, present["by"][key], bounds)]
    absent_groups = {f"`{name}`": block for name, block in absent["by"]["subset"].items()}
    tables += ["## Targets that are not there", _absent({**absent_groups, "all": absent})]
    return tables


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; a bar in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def interval(estimate: Block, digits: int = 3) -> str:
    """`value [low, high]`; a dash for what is undefined."""
    if estimate["value"] is None:
        return "-"
    text = f"{estimate['value']:.{digits}f}"
    if estimate["low"] is not None:
        text += f" [{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]"
    return text


def plain(estimate: Block, digits: int = 3) -> str:
    """The value alone."""
    return "-" if estimate["value"] is None else f"{estimate['value']:.{digits}f}"


def _overlap(groups: Mapping[str, Block]) -> str:
    header = ["queries", "n", "DSC, macro", "IoU, macro", "DSC, mean", "IoU, mean", "DSC quartiles"]
    keys = ("DSC_macro", "IoU_macro", "DSC_mean", "IoU_mean")
    return table(
        header,
        [
            [name, str(block["n"]), *(interval(block[key]) for key in keys), _quartiles(block["DSC_quartiles"])]
            for name, block in groups.items()
        ],
    )


def _means(groups: Mapping[str, Block]) -> str:
    header = ["queries", "NSD, mean", "HD95, mean (mm)", "HD95 undefined", "DSC, pooled", "IoU, pooled"]
    return table(
        [*header, "IoU implied by the mean DSC"],
        [
            [
                name,
                interval(block["NSD_mean"]),
                interval(block["HD95_mm_mean"], 1),
                f"{block['HD95_undefined']} of {block['n']}",
                *(interval(block[key]) for key in ("DSC_pooled", "IoU_pooled", "IoU_implied_by_DSC_mean")),
            ]
            for name, block in groups.items()
        ],
    )


def _grounding(groups: Mapping[str, Block]) -> str:
    header = ["queries", "format rate", "key slice holds the target", "R_a", "offset of the key slice (mm)", "box IoU"]
    keys = {"format_rate": 3, "key_holds_target": 3, "R_a": 3, "key_offset_mm": 1, "box_iou": 3}
    rows = [[name, *(interval(block[key], digits) for key, digits in keys.items())] for name, block in groups.items()]
    return table(header, rows)


def _bounds(groups: Mapping[str, Block], bounds: Sequence[str], average: str) -> str:
    header = [f"DSC, {average}", *(bound.replace("_", " ") for bound in bounds), "prediction"]
    rows = [
        [name, *(interval(block[f"{bound}_DSC_{average}"]) for bound in bounds), interval(block[f"DSC_{average}"])]
        for name, block in groups.items()
    ]
    return table(header, rows)


def _marks(groups: Mapping[str, Block]) -> str:
    header = ["queries", "n", "box IoU", "pDice", "DSC, box and points", "DSC, box alone", "DSC, points alone"]
    keys = ("marks_iou", "point_dice", "DSC_mean", "answer_box_DSC_mean", "answer_points_DSC_mean")
    rows = [
        [name, str(block["n"]), *(interval(block[key]) if key in block else "-" for key in keys)]
        for name, block in groups.items()
    ]
    return table(header, rows)


def _published() -> str:
    """What others report of their models on their test split; nothing of it was measured here."""
    header = ["published by MedReasoner's authors, in percent", "box IoU", "pDice", "DSC"]
    return table(header, [[name, *(f"{value:.2f}" for value in values)] for name, *values in PUBLISHED])


def _robustness(groups: Mapping[str, Block]) -> str:
    header = ["queries", "sides swapped", "n", "targets in several wordings", "DSC, mean wording", "DSC, worst wording"]
    rows = [
        [
            name,
            interval(block["laterality_swap_rate"]),
            str(block["laterality_swap_rate"]["n"]),
            str(block["paraphrase_DSC_mean"]["n"]),
            interval(block["paraphrase_DSC_mean"]),
            interval(block["paraphrase_DSC_worst"]),
        ]
        for name, block in groups.items()
    ]
    return table(header, rows)


def _breakdown(title: str, blocks: Mapping[str, Block], bounds: Sequence[str]) -> str:
    header = [title.lower(), "n", "DSC, mean", "DSC, macro", "IoU, mean", "NSD, mean", "R_a", "box IoU"]
    rows = [
        [
            name,
            str(block["n"]),
            interval(block["DSC_mean"]),
            *(plain(block[key]) for key in ("DSC_macro", "IoU_mean", "NSD_mean", "R_a", "box_iou", "called_absent")),
            *(plain(block[f"{bound}_DSC_mean"]) for bound in bounds),
        ]
        for name, block in blocks.items()
    ]
    return table([*header, "called absent", *(f"DSC, {bound.replace('_', ' ')}" for bound in bounds)], rows)


def _absent(groups: Mapping[str, Block]) -> str:
    header = ["queries", "n", "false positives", "called absent", "no answer", "median volume of a false positive (ml)"]
    rows = [
        [
            name,
            str(block["n"]),
            *(interval(block[key]) for key in ("false_positive_rate", "called_absent", "no_answer")),
            "-" if block["false_positive_ml_median"] is None else f"{block['false_positive_ml_median']:.1f}",
        ]
        for name, block in groups.items()
    ]
    return table(header, rows)


def _quartiles(edges: Sequence[float] | None) -> str:
    return "-" if edges is None else " / ".join(f"{edge:.3f}" for edge in edges)

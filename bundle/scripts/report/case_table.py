"""What became of the cases of a run, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Characters of a query that are shown.
_LONGEST_QUERY = 40


def case_table(rows: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, str]], output_dir: str | Path) -> str:
    """The answered cases with their query, status in words and scores, then the failed ones with their reasons.

    Args:
        rows: of `case_writer.CaseWriter`.
        failures: `case`, `reason` and `message` of each.
        output_dir: where the folders of the cases are.
    """
    lines = [["case", "query", "status", "volume/ml", "DSC", "IoU"]]
    for row in rows:
        scores = [f"{row['scores'][name]:.3f}" if row["scores"] else "-" for name in ("DSC", "IoU")]
        size = "-" if row["volume_ml"] is None else f"{row['volume_ml']:.1f}"
        lines.append([row["case"], _shown(row["query"]), row["status_text"], size, *scores])
    lines += [[failure["case"], "", f"FAILED: {failure['reason']}", "-", "-", "-"] for failure in failures]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(_padded(line, widths)).rstrip() for line in lines]
    told = [f"  {failure['case']}: {failure['message']}" for failure in failures]
    files = ", ".join(dict.fromkeys(ending for row in rows for ending in row["files"]))
    written = f"written to {Path(output_dir) / '<case>'}: {files}" if files else f"nothing written to {output_dir}"
    return "\n".join(["", *table, *told, written])


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Texts to the left, numbers to the right."""
    return [
        text.ljust(width) if column < 3 else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    ]


def _shown(query: str) -> str:
    """The start of a query on one line, without what a terminal would obey."""
    line = "".join(character if character.isprintable() else " " for character in query)
    return line if len(line) <= _LONGEST_QUERY else f"{line[: _LONGEST_QUERY - 3]}..."

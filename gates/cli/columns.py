"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns below *title*: names to the left, the rest to the right."""
    everything = [columns, *rows]
    widths = [max(len(row[index]) for row in everything) for index in range(len(columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in everything
    ]
    return "\n".join([title, *("  " + line.rstrip() for line in lines)])

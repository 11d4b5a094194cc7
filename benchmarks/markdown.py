"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: the first column to the left, numbers to the right, padded to read as text."""
    lines = [list(header), *(list(row) for row in rows)]
    if any(len(line) != len(header) for line in lines):
        raise ValueError(f"Every row must have {len(header)} cells, as the header has.")
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]

    def show(line: Sequence[str]) -> str:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join([":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([show(lines[0]), rule, *(show(line) for line in lines[1:])])


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with about ``digits`` significant digits, never in scientific notation; "" for None."""
    if value is None:
        return ""
    size = abs(value)
    decimals = 0 if size >= 10 ** (digits - 1) else digits - 1
    while decimals and size >= 10 ** (digits - decimals):
        decimals -= 1
    return f"{value:,.{decimals}f}"


def verdict(reached: bool) -> str:
    """Say whether an aim was reached."""
    return "reached" if reached else "missed"

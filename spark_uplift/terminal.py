"""What a run shows on a terminal: steps with progress and time left, and a short summary at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

Row = Mapping[str, Any]

_HEADLINES = (("autoc", "grf", "AUTOC"), ("qini", "grf", "Qini"))
_SEGMENTS_SHOWN = 3


class TerminalProgress:
    """Steps as lines; long work as a bar with the time left (on a terminal), or as lines (in a log)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: Any = None
        self._started = time.monotonic()
        self._name = ""

    def step(self, name: str, text: str) -> None:
        """Say that a step begins."""
        self._name, self._started = name, time.monotonic()
        self._console.print(f"[bold]{escape(name):<9}[/bold] {escape(text)}", highlight=False)

    def advance(self, done: int, total: int, seconds: float, parts: str = "trees") -> None:
        """Say how many parts are done."""
        left = seconds / done * (total - done) if done else 0.0
        times = f"{seconds:.0f} s, about {left:.0f} s left"
        if not self._console.is_terminal:
            self._console.print(f"          {done} of {total} {parts}, {times}", highlight=False)
            return
        if self._bar is None:
            columns = (
                TextColumn("         "),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[parts]}, {task.fields[times]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(parts, total=total, times=times, parts=parts)
            self._bar.start()
        self._bar.update(self._task, completed=done, times=times, refresh=True)
        if done >= total:
            self.close()

    def done(self, text: str) -> None:
        """Say that the step has ended."""
        self.close()
        self._console.print(
            f"          done in {time.monotonic() - self._started:.1f} s", style="dim", highlight=False
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def number(value: float | None) -> str:
    """Return a number with three significant digits, or a dash."""
    return "–" if value is None else f"{value:.3g}"


def interval(row: Row) -> str:
    """Return ``value (lower to upper)``."""
    if row["lower"] is None or row["upper"] is None:
        return number(row["value"])
    return f"{number(row['value'])}  ({number(row['lower'])} to {number(row['upper'])})"


def summary_tables(metrics: Sequence[Row], segments: Sequence[Row], outcome: str) -> list[Table]:
    """Return the tables of a finished run: arms with effect and ranking metrics, and the best segments."""
    level = next((row["level"] for row in metrics if row["level"] is not None), None)
    suffix = f" ({100 * level:g} % interval)" if level else ""
    headings = ("arm", "average effect", *(title for _, _, title in _HEADLINES))
    arms = _table(f"Effect on {outcome}, on the holdout{suffix}", headings)
    by_key = {(row["arm"], row["metric"], row["style"]): row for row in metrics}
    for arm in sorted({row["arm"] for row in metrics}, key=lambda name: (name == "*", name)):
        ate = next((row for row in metrics if row["arm"] == arm and row["metric"] == "ate"), None)
        cells = [by_key.get((arm, metric, style)) for metric, style, _ in _HEADLINES]
        name = "best arm for each" if arm == "*" else arm
        _add(arms, name, *(interval(cell) if cell else number(None) for cell in (ate, *cells)))
    best = _table("Best segments, measured on the holdout", ("segment", "share", "arm", f"uplift{suffix}"))
    chosen = [row for row in segments if row["arm"] == row["recommended"]][:_SEGMENTS_SHOWN]
    for row in chosen:
        shown = {"value": row["uplift"], "lower": row["lower"], "upper": row["upper"]}
        _add(best, row["rule"], f"{row['share']:.0%}", row["arm"], interval(shown))
    return [arms, best] if chosen else [arms]


def plan_table(steps: Sequence[Mapping[str, str]]) -> Table:
    """Return a dry run's plan."""
    table = _table("Plan (nothing is read or written)", ("step", "what", "writes"))
    for step in steps:
        _add(table, step["step"], step["what"], step["writes"])
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for heading in headings:
        table.add_column(escape(heading))
    return table


def _add(table: Table, *cells: str) -> None:
    # Names come from the data: square brackets in them are no markup.
    table.add_row(*(escape(cell) for cell in cells))

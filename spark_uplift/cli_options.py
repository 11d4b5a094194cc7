"""Options and output that several commands share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Conf = Annotated[Path, typer.Option("--conf", help="Configuration of the run, a YAML file.")]
Set = Annotated[
    list[str], typer.Option("--set", help="Override one value: section.key=value. May be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; read and write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one line of JSON: run id, report, model.")]

_LOG_WIDTH, _LEAST_WIDTH = 120, 40  # columns


def console_for_output() -> Console:
    """Return the console that results are printed on."""
    if sys.stdout.isatty():
        return Console()
    # A log has no width of its own; tables must not be folded to 80 columns there.
    width = os.environ.get("COLUMNS", "")
    return Console(width=max(int(width), _LEAST_WIDTH) if width.isdecimal() else _LOG_WIDTH)

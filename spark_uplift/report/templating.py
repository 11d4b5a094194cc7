"""Templates and other files of the pages."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined

from spark_uplift.report.figure import PALETTE

__all__ = ["environment", "resource"]


@lru_cache(maxsize=32)
def resource(path: str) -> str:
    """Return the text of a file of this package; read through importlib, so that a zipped package works too."""
    node = resources.files("spark_uplift.report")
    for part in path.split("/"):
        node = node.joinpath(part)
    return node.read_text(encoding="utf-8")


def _tone(colour: str | None) -> str:
    """CSS class of an arm's colour; "plain" for control and unknown arms."""
    return f"c{PALETTE.index(colour)}" if colour in PALETTE else "plain"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return what renders the templates: everything from data is escaped."""

    def load(name: str) -> str:
        return resource(f"templates/{name}")

    made = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["tone"] = _tone
    made.filters["first_upper"] = lambda text: text[:1].upper() + text[1:]
    return made

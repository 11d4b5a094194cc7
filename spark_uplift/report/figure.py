"""What every chart is made of: colours, axes, error bars and texts that plotly can't misread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spark_uplift.report.findings import POLICY_NAME, arm_names
from spark_uplift.report.format import PER, Estimate, Scale, shorten
from spark_uplift.report.inputs import ReportInputs, Row, Rows

Spec = dict[str, Any]

# After Okabe & Ito (2008), told apart with the common colour-vision deficiencies; their yellow is too pale.
POLICY_COLOUR = "#4a5560"
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a8518a", "#b07d00", "#3a8fc4")
OTHER_COLOUR = "#2d333b"
"""The model that this one is compared with; it is dotted as well."""

INK, SOFT, GRID, PAPER = "#1c2128", "#59636e", "#e3e7eb", "#ffffff"
DARK = {
    POLICY_COLOUR: "#c3ccd5",
    "#0072b2": "#5ab4f0",
    "#d55e00": "#ff9455",
    "#009e73": "#3fcfa4",
    "#a8518a": "#e39bc9",
    "#b07d00": "#e6b955",
    "#3a8fc4": "#8ccbf2",
    OTHER_COLOUR: "#d5dbe1",
    INK: "#e8ebee",
    SOFT: "#9da7b1",
    GRID: "#2c333a",
    PAPER: "#161a1e",
}
"""Colour of the dark theme for every colour used in a figure."""

PALETTE = (*ARM_COLOURS, POLICY_COLOUR, OTHER_COLOUR)
"""Colours that the page has as classes c0, c1, … and as variables --p0, --p1, …, light or dark by the theme."""

BAND_ALPHA = "2e"
MAX_POINTS = 120
FONT = (
    "-apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', "
    "'Liberation Sans', Arial, sans-serif"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing.

    Attributes
    ----------
    title : str
        Plain text above the drawing; empty when the section's heading says it.
    spec : dict
        ``data`` and ``layout`` in plotly's schema, JSON-ready.
    colour : str or None
        The arm's colour, for the mark beside the title.
    """

    title: str
    spec: Spec
    colour: str | None = None


Draw = Callable[[ReportInputs, Scale], list[Figure]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A registered chart: figures from inputs, side by side when there are several."""

    name: str
    draw: Draw
    caption: str


CHARTS: dict[str, Chart] = {}


def register(name: str, caption: str) -> Callable[[Draw], Draw]:
    """Add a chart to the registry, with the caption that explains it."""

    def add(draw: Draw) -> Draw:
        CHARTS[name] = Chart(name, draw, caption)
        return draw

    return add


def label(text: Any, most: int = 28) -> str:
    """Text from data, shortened, with plotly's pseudo-HTML made harmless."""
    safe = shorten(" ".join(str(text).split()), most)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def arm_colours(inputs: ReportInputs) -> dict[str, str]:
    """A fixed colour for every treatment arm; the policy, which is none, has a neutral one."""
    names = arm_names(inputs)
    arms = [name for name in names if name != POLICY_NAME]
    colours = {arm: ARM_COLOURS[i % len(ARM_COLOURS)] for i, arm in enumerate(arms)}
    return {name: colours.get(name, POLICY_COLOUR) for name in names}


def thin(rows: Rows, most: int = MAX_POINTS) -> list[Row]:
    """At most ``most`` rows, evenly taken, first and last kept."""
    if len(rows) <= most:
        return list(rows)
    step = (len(rows) - 1) / (most - 1)
    return [rows[round(i * step)] for i in range(most)]


def rounded(value: float | None) -> float | None:
    """Six significant digits: what a screen can show, at half the size."""
    return None if value is None else float(f"{value:.6g}")


def axes_layout(x_title: str, y_title: str, height: int, **more: Any) -> Spec:
    """A quiet layout of ``height`` pixels; ``more`` adds to a part of it (a dict) or replaces it."""
    axis = {
        "automargin": True,
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": SOFT,
        "zerolinewidth": 1,
        "tickfont": {"color": SOFT, "size": 12},
        "fixedrange": True,
        "tickangle": 0,
        "separatethousands": True,
    }
    layout: Spec = {
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 26, "t": 8, "b": 8},
        "paper_bgcolor": "#00000000",
        "plot_bgcolor": "#00000000",
        "font": {"family": FONT, "size": 13, "color": INK},
        "separators": ".,",
        "showlegend": False,
        "dragmode": False,
        "hovermode": "x",
        "hoverlabel": {
            "bgcolor": PAPER,
            "bordercolor": GRID,
            "font": {"family": FONT, "size": 13, "color": INK},
        },
        "xaxis": {**axis, "title": {"text": x_title, "font": {"color": SOFT, "size": 12}, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y_title, "font": {"color": SOFT, "size": 12}, "standoff": 6}},
    }
    for name, change in more.items():
        layout[name] = {**layout[name], **change} if isinstance(layout.get(name), dict) else change
    return layout


def error_bars(estimates: Sequence[Estimate], axis: str, colour: str | Sequence[str]) -> Spec:
    """Asymmetric bars per 1,000 units; an estimate without an interval gets none."""
    above = [rounded((e.upper - e.value) * PER) if _complete(e) else None for e in estimates]  # type: ignore[operator]
    below = [rounded((e.value - e.lower) * PER) if _complete(e) else None for e in estimates]  # type: ignore[operator]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {f"error_{axis}": {**bars, "color": colour, "thickness": 1.6, "width": 4}}


def _complete(estimate: Estimate) -> bool:
    return None not in (estimate.value, estimate.lower, estimate.upper)


def scaled(values: Iterable[float | None]) -> list[float | None]:
    """Effects per unit as effects per 1,000 units."""
    return [None if value is None else rounded(value * PER) for value in values]


def axis_range(values: Iterable[float | None], keep: Sequence[float] = (0.0,)) -> list[float]:
    """A common axis range per 1,000 units over all arms, 6 % wider than the values.

    What `keep` holds lies on the axis as well: it starts there when no value lies below.
    """
    present = [value * PER for value in values if value is not None] + list(keep)
    low, high = min(present, default=0.0), max(present, default=1.0)
    pad = (high - low or 1.0) * 0.06
    return [low - pad if low < 0 or not keep else low, high + pad]


def band(x: Sequence[float | None], estimates: Sequence[Estimate], colour: str) -> Spec:
    """The area between the ends of the intervals, per 1,000 units; points without an interval are left out."""
    bounded = [(place, e) for place, e in zip(x, estimates, strict=True) if None not in (e.lower, e.upper)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [place for place, _ in bounded] + [place for place, _ in reversed(bounded)],
        "y": scaled([e.upper for _, e in bounded] + [e.lower for _, e in reversed(bounded)]),
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0},
        "hoverinfo": "skip",
    }

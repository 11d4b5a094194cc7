"""Curves of two models in one picture, each with its band."""

from __future__ import annotations

from spark_uplift.report.charts.curves import FIRST_SHARE, SHARE_AXIS
from spark_uplift.report.figure import (
    BAND_ALPHA,
    OTHER_COLOUR,
    SOFT,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    axis_range,
    band,
    label,
    register,
    rounded,
    scaled,
    thin,
)
from spark_uplift.report.format import Estimate, Scale, percent
from spark_uplift.report.inputs import ReportInputs, Rows

MOST_POINTS = 60
OTHER_ALPHA = "12"
EDGE_ALPHA = "80"


@register(
    "compare_qini",
    "Total gain for every 1,000 units of the whole population when each model picks the best share of them. The "
    "higher line finds more of the gain. Bands that overlap do not yet mean that the models are alike: the table "
    "below compares them on the same rows, which is more exact.",
)
def compare_qini(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Gain over the whole population, for both models."""
    return _pairs(inputs, scale, "qini", f"{scale.unit} per 1,000 units in all")


@register(
    "compare_toc",
    "Effect among the best share by each model, less the average effect. AUTOC is the mean height of a curve.",
)
def compare_toc(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Advantage over the average effect, for both models."""
    return _pairs(inputs, scale, "toc", f"{scale.unit} per 1,000, above average")


def _pairs(inputs: ReportInputs, scale: Scale, curve: str, y_title: str) -> list[Figure]:
    colours = arm_colours(inputs)
    pairs = {}
    for arm in colours:
        mine = _points(inputs.evaluation_curves, arm, curve)
        others = _points(inputs.other_curves, arm, curve)
        if mine and others:
            pairs[arm] = (mine, others)
    shown = [
        Estimate.of(row["value"], row["lower"], row["upper"])
        for pair in pairs.values()
        for points in pair
        for row in points
        if row["fraction"] >= FIRST_SHARE
    ]
    limits = axis_range([bound for e in shown for bound in (e.value, e.lower, e.upper)])
    figures = []
    for arm, (mine, others) in pairs.items():
        layout = axes_layout(
            "share of units treated, best first",
            label(y_title, 60),
            290,
            xaxis=SHARE_AXIS,
            yaxis={"range": limits, "nticks": 6},
        )
        data = _traces(others, OTHER_COLOUR, "other model", scale, "dot")
        data += _baseline(mine) + _traces(mine, colours[arm], "this model", scale, "solid")
        figures.append(
            Figure(arm if len(colours) > 1 else "", {"data": data, "layout": layout}, colours[arm])
        )
    return figures


def _points(rows: Rows, arm: str, curve: str) -> Rows:
    found = [row for row in rows if row["arm"] == arm and row["curve"] == curve]
    return thin(sorted(found, key=lambda row: row["fraction"]), MOST_POINTS)


def _baseline(points: Rows) -> list[Spec]:
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [rounded(row["fraction"]) for row in points],
            "y": scaled(row["baseline"] for row in points),
            "line": {"color": SOFT, "width": 1.4, "dash": "dash"},
            "hoverinfo": "skip",
        }
    ]


def _traces(points: Rows, colour: str, name: str, scale: Scale, dash: str) -> list[Spec]:
    estimates = [Estimate.of(row["value"], row["lower"], row["upper"]) for row in points]
    x = [rounded(row["fraction"]) for row in points]
    decimals = scale.decimals(estimates)
    texts = [
        f"{name}, top {percent(row['fraction'])}: {scale.effect_text(e, decimals)}"
        for row, e in zip(points, estimates, strict=True)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": scaled(e.value for e in estimates),
        "line": {"color": colour, "width": 2.4, "dash": dash},
        "text": texts,
        "hoverinfo": "text",
    }
    area = band(x, estimates, colour + (BAND_ALPHA if dash == "solid" else OTHER_ALPHA))
    if dash != "solid":  # an edge, since two bands that overlap have no colours of their own
        area["line"] = {"color": colour + EDGE_ALPHA, "width": 0.8}
    return [area, line]

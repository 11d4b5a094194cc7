"""Curves over the share of units treated: uplift, Qini and TOC, each with its band."""

from __future__ import annotations

from spark_uplift.report.figure import (
    BAND_ALPHA,
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

FIRST_SHARE = 0.1
"""The axis fits the curves from here on: before it they rest on few units, and their bands dwarf all else."""

SHARE_TICKS = (0, 0.25, 0.5, 0.75, 1)
SHARE_AXIS: Spec = {
    "tickvals": list(SHARE_TICKS),
    "ticktext": [percent(share) for share in SHARE_TICKS],
    "range": [0, 1],
    "zeroline": False,
}


def _curve(inputs: ReportInputs, scale: Scale, curve: str, y_title: str) -> list[Figure]:
    """One figure per arm: line, band and baseline, all on the same vertical axis."""
    rows = [row for row in inputs.evaluation_curves if row["curve"] == curve]
    colours = arm_colours(inputs)
    by_arm = {
        arm: thin(sorted((r for r in rows if r["arm"] == arm), key=lambda r: r["fraction"]))
        for arm in colours
    }
    drawn = {arm: points for arm, points in by_arm.items() if points}
    shown = [
        Estimate.of(r["value"], r["lower"], r["upper"])
        for points in drawn.values()
        for r in points
        if r["fraction"] >= FIRST_SHARE
    ]
    limits = axis_range([bound for e in shown for bound in (e.value, e.lower, e.upper)])
    figures = []
    for arm, points in drawn.items():
        layout = axes_layout(
            "share of units treated, best first",
            label(y_title, 60),
            290,
            xaxis=SHARE_AXIS,
            yaxis={"range": limits, "nticks": 6},
        )
        data = _curve_traces(points, colours[arm], scale)
        figures.append(
            Figure(arm if len(colours) > 1 else "", {"data": data, "layout": layout}, colours[arm])
        )
    return figures


def _curve_traces(points: Rows, colour: str, scale: Scale) -> list[Spec]:
    estimates = [Estimate.of(row["value"], row["lower"], row["upper"]) for row in points]
    x = [rounded(row["fraction"]) for row in points]
    decimals = scale.decimals(estimates)
    texts = [
        f"Top {percent(row['fraction'])}: {scale.effect_text(e, decimals)}"
        for row, e in zip(points, estimates, strict=True)
    ]
    base = {"type": "scatter", "mode": "lines"}
    return [
        band(x, estimates, colour + BAND_ALPHA),
        {
            **base,
            "x": x,
            "y": scaled(row["baseline"] for row in points),
            "line": {"color": SOFT, "width": 1.4, "dash": "dash"},
            "hoverinfo": "skip",
        },
        {
            **base,
            "x": x,
            "y": scaled(e.value for e in estimates),
            "line": {"color": colour, "width": 2.4},
            "text": texts,
            "hoverinfo": "text",
        },
    ]


@register(
    "uplift",
    "Effect among the units treated, when the best by predicted uplift are treated first. It ends at the "
    "average effect (dashed): a curve that starts well above the dashed line means that the model finds "
    "those who gain most. At the far left few units are treated, and curve and band may leave the picture.",
)
def uplift_curve(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Effect among the best share."""
    return _curve(inputs, scale, "uplift", f"{scale.unit} per 1,000 treated")


@register(
    "qini",
    "Total gain for every 1,000 units of the whole population when the best share of them is treated. The "
    "dashed line is treatment at random; the gap between the two is what targeting is worth.",
)
def qini_curve(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Gain over the whole population."""
    return _curve(inputs, scale, "qini", f"{scale.unit} per 1,000 units in all")


@register(
    "toc",
    "Targeting operator characteristic: effect among the best share less the average effect. AUTOC is the "
    "mean height of this curve. Where the band lies above 0, treating that share beats treating the same "
    "number at random.",
)
def toc_curve(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Advantage over the average effect."""
    return _curve(inputs, scale, "toc", f"{scale.unit} per 1,000, above average")

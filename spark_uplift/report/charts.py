"""Charts as plain dicts in plotly's JSON schema, one small function each, in a registry.

The functions know nothing of HTML. Colours are those of the light theme; the page swaps them for the dark
ones by value.
"""

from __future__ import annotations

import math

from spark_uplift.report.figure import (
    ARM_COLOURS,
    BAND_ALPHA,
    CHARTS,
    INK,
    SOFT,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    axis_range,
    error_bars,
    label,
    register,
    rounded,
    scaled,
    thin,
)
from spark_uplift.report.findings import Finding, findings
from spark_uplift.report.format import PER, Estimate, Scale, count, percent, plain
from spark_uplift.report.inputs import ReportInputs, Rows

__all__ = ["CHARTS"]

MAX_FEATURES = 20
MAX_BUCKET_TICKS = 12

FIRST_SHARE = 0.1
"""The axis fits the curves from here on: before it they rest on few units, and their bands dwarf all else."""

SHARE_TICKS = (0, 0.25, 0.5, 0.75, 1)
SHARE_AXIS: Spec = {
    "tickvals": list(SHARE_TICKS),
    "ticktext": [percent(share) for share in SHARE_TICKS],
    "range": [0, 1],
    "zeroline": False,
}


@register(
    "effects",
    "Each dot is the average effect of one arm against control when everybody is treated; the bar is its "
    "interval. A bar that crosses 0 means that the data do not show an effect.",
)
def effects(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Average effect per arm, on one axis."""
    found = [finding for finding in findings(inputs) if finding.everybody.value is not None]
    if not found:
        return []
    colours = arm_colours(inputs)
    rows = list(range(len(found), 0, -1))
    data = [
        _effect_dot(finding, row, colours[finding.arm], scale)
        for finding, row in zip(found, rows, strict=True)
    ]
    layout = axes_layout(
        label(scale.effect_label, 60),
        "",
        70 + 44 * len(found),
        hovermode="closest",
        yaxis={
            "tickvals": rows,
            "ticktext": [label(f.arm) for f in found],
            "range": [0.4, len(found) + 0.6],
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickfont": {"color": INK, "size": 13},
        },
        xaxis={"rangemode": "tozero", "zeroline": True},
    )
    return [Figure("", {"data": data, "layout": layout})]


def _effect_dot(finding: Finding, row: int, colour: str, scale: Scale) -> Spec:
    everybody = finding.everybody
    text = scale.effect_text(everybody, scale.decimals([everybody]))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": scaled([everybody.value]),
        "y": [row],
        "marker": {"color": colour, "size": 11},
        "text": [label(f"{finding.arm}: {text}", 90)],
        "hoverinfo": "text",
        **error_bars([everybody], "x", colour),
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
    banded = [
        (f, e) for f, e in zip(x, estimates, strict=True) if e.lower is not None and e.upper is not None
    ]
    band_x = [f for f, _ in banded] + [f for f, _ in reversed(banded)]
    band_y = scaled([e.upper for _, e in banded] + [e.lower for _, e in reversed(banded)])
    base = {"type": "scatter", "mode": "lines"}
    return [
        {
            **base,
            "x": band_x,
            "y": band_y,
            "fill": "toself",
            "fillcolor": colour + BAND_ALPHA,
            "line": {"width": 0},
            "hoverinfo": "skip",
        },
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


@register(
    "deciles",
    "Units in equal groups by predicted uplift, best first. Dots: effect measured in the group, with its "
    "interval. Line: effect predicted. In a useful, well-calibrated model both fall from left to right, "
    "together.",
)
def deciles(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Measured and predicted effect by bucket, one figure per arm."""
    colours = arm_colours(inputs)
    by_arm = {arm: [row for row in inputs.uplift_table if row["arm"] == arm] for arm in colours}
    rows = [row for arm_rows in by_arm.values() for row in arm_rows]
    shown = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
    predicted = [Estimate.of(row["predicted"], None, None).value for row in rows]
    limits = axis_range([bound for e in shown for bound in (e.value, e.lower, e.upper)] + predicted)
    figures = []
    for arm, arm_rows in by_arm.items():
        if not arm_rows:
            continue
        layout = axes_layout(
            "group by predicted uplift, 1 = highest",
            label(scale.effect_label, 60),
            290,
            xaxis=_bucket_axis(arm_rows),
            yaxis={"range": limits, "nticks": 6, "zeroline": True},
        )
        data = _decile_traces(sorted(arm_rows, key=lambda row: row["bucket"]), colours[arm], scale)
        figure = {"data": data, "layout": layout}
        figures.append(Figure(arm if len(colours) > 1 else "", figure, colours[arm]))
    return figures


def _bucket_axis(rows: Rows) -> Spec:
    groups = max(row["bucket"] for row in rows)
    return {
        "dtick": math.ceil(groups / MAX_BUCKET_TICKS),
        "tick0": 1,
        "range": [0.4, groups + 0.6],
        "showgrid": False,
        "zeroline": False,
    }


def _decile_traces(rows: Rows, colour: str, scale: Scale) -> list[Spec]:
    estimates = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
    decimals = scale.decimals(estimates)
    x = [row["bucket"] for row in rows]
    texts = [
        f"Group {row['bucket']}: {scale.effect_text(e, decimals)}"
        f"<br>predicted {scale.effect(row['predicted'], decimals)}, {count(row['n'])} units"
        for row, e in zip(rows, estimates, strict=True)
    ]
    predicted = [Estimate.of(row["predicted"], None, None).value for row in rows]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": x,
            "y": scaled(predicted),
            "hoverinfo": "skip",
            "line": {"color": SOFT, "width": 1.6},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": x,
            "y": scaled(e.value for e in estimates),
            "text": texts,
            "hoverinfo": "text",
            "marker": {"color": colour, "size": 9},
            **error_bars(estimates, "y", colour),
        },
    ]


METHODS = {
    "gain": ("By gain", "share of the total gain of all splits"),
    "permutation": ("By permutation", "loss of AUTOC when the feature is shuffled"),
}


@register(
    "importance",
    "How much each feature matters to the model's ranking. It does not say in which direction, nor that "
    "changing the feature would change the effect.",
)
def importance(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Feature importances, one figure per method, the largest on top."""
    methods = sorted({str(row["method"]) for row in inputs.feature_importance})
    figures = []
    for method in methods:
        rows = [
            r for r in inputs.feature_importance if str(r["method"]) == method and r["importance"] is not None
        ]
        rows = sorted(rows, key=lambda row: -row["importance"])[:MAX_FEATURES]
        title, unit = METHODS.get(method, (f"By {method}", "importance"))
        if rows:
            figures.append(Figure(title, _importance_spec(rows, unit)))
    return figures


def _importance_spec(rows: Rows, unit: str) -> Spec:
    y = list(range(len(rows), 0, -1))
    texts = [label(f"{row['feature']}: {plain(row['importance'])}", 90) for row in rows]
    bars: Spec = {
        "type": "bar",
        "orientation": "h",
        "x": [rounded(row["importance"]) for row in rows],
        "y": y,
        "width": 0.62,
        "marker": {"color": ARM_COLOURS[0]},
        "text": texts,
        "textposition": "none",
        "hoverinfo": "text",
    }
    if any(row["std_error"] for row in rows):
        errors = [rounded(row["std_error"]) for row in rows]
        bars["error_x"] = {"type": "data", "array": errors, "color": SOFT, "thickness": 1.4, "width": 3}
    layout = axes_layout(
        unit,
        "",
        70 + 26 * len(rows),
        hovermode="closest",
        xaxis={"rangemode": "tozero", "zeroline": True, "nticks": 5},
        yaxis={
            "tickvals": y,
            "ticktext": [label(row["feature"]) for row in rows],
            "range": [0.4, len(rows) + 0.6],
            "showgrid": False,
            "zeroline": False,
            "tickfont": {"color": INK, "size": 13},
        },
    )
    return {"data": [bars], "layout": layout}


@register(
    "scores",
    "How many units have which predicted uplift. A spread that is wide beside the intervals above means "
    "that the model tells units apart; everything on one spot means that it sees no difference between "
    "them.",
)
def scores(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Distribution of predicted uplift, one figure per arm on a common horizontal axis."""
    colours = arm_colours(inputs)
    bounds = [bound for row in inputs.score_histogram for bound in (row["lower"], row["upper"])]
    figures = []
    for arm, colour in colours.items():
        rows = [row for row in inputs.score_histogram if row["arm"] == arm]
        if not rows:
            continue
        layout = axes_layout(
            label(f"predicted {scale.effect_label}", 60),
            "units",
            250,
            bargap=0,
            xaxis={"range": axis_range(bounds), "showgrid": False, "zeroline": True, "nticks": 6},
            yaxis={"nticks": 5},
        )
        figure = {"data": [_score_bars(rows, colour)], "layout": layout}
        figures.append(Figure(arm if len(colours) > 1 else "", figure, colour))
    return figures


def _score_bars(rows: Rows, colour: str) -> Spec:
    texts = [
        f"{plain(row['lower'] * PER, sign=True)} to {plain(row['upper'] * PER, sign=True)}: "
        f"{count(row['count'])} units"
        for row in rows
    ]
    return {
        "type": "bar",
        "x": scaled((row["lower"] + row["upper"]) / 2 for row in rows),
        "width": scaled(row["upper"] - row["lower"] for row in rows),
        "y": [row["count"] for row in rows],
        "marker": {"color": colour, "line": {"width": 0}},
        "text": texts,
        "textposition": "none",
        "hoverinfo": "text",
    }

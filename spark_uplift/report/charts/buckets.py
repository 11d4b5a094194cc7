"""Charts of the uplift table: predicted against measured effect by group."""

from __future__ import annotations

import math

from spark_uplift.report.figure import (
    SOFT,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    axis_range,
    error_bars,
    label,
    register,
    scaled,
)
from spark_uplift.report.format import Estimate, Scale, count, finite
from spark_uplift.report.inputs import ReportInputs, Rows

MAX_BUCKET_TICKS = 12


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


@register(
    "calibration",
    "Each dot is one group of the uplift table: across, the mean effect predicted for it; up, the effect measured "
    "in it (mean outcome of the treated less that of control), with its interval. On the dashed line prediction "
    "and measurement agree. Dots that lie flatter than the line mean that the model exaggerates differences.",
)
def calibration(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Measured against predicted effect by group, one figure per arm on the same axes."""
    colours = arm_colours(inputs)
    by_arm = {
        arm: [
            row for row in inputs.uplift_table if row["arm"] == arm and finite(row["predicted"]) is not None
        ]
        for arm in colours
    }
    rows = [row for arm_rows in by_arm.values() for row in arm_rows]
    measured = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
    across = axis_range([row["predicted"] for row in rows], ())
    up = axis_range([end for e in measured for end in (e.value, e.lower, e.upper)])
    figures = []
    for arm, arm_rows in by_arm.items():
        if not arm_rows:
            continue
        layout = axes_layout(
            label(f"predicted, {scale.effect_label}", 60),
            label(f"measured, {scale.effect_label}", 60),
            290,
            hovermode="closest",
            xaxis={"range": across, "nticks": 6, "zeroline": True},
            yaxis={"range": up, "nticks": 6, "zeroline": True},
        )
        data = [_agreement(across), _measured_dots(arm_rows, colours[arm], scale)]
        figure = {"data": data, "layout": layout}
        figures.append(Figure(arm if len(colours) > 1 else "", figure, colours[arm]))
    return figures


def _agreement(across: list[float]) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": across,
        "y": across,
        "hoverinfo": "skip",
        "line": {"color": SOFT, "width": 1.4, "dash": "dash"},
    }


def _measured_dots(rows: Rows, colour: str, scale: Scale) -> Spec:
    estimates = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
    decimals = scale.decimals(estimates)
    texts = [
        f"Group {row['bucket']}: predicted {scale.effect(row['predicted'], decimals)}"
        f"<br>measured {scale.effect_text(e, decimals)}, {count(row['n'])} units"
        for row, e in zip(rows, estimates, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": scaled(row["predicted"] for row in rows),
        "y": scaled(e.value for e in estimates),
        "text": texts,
        "hoverinfo": "text",
        "marker": {"color": colour, "size": 9},
        **error_bars(estimates, "y", colour),
    }

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
from spark_uplift.report.format import Estimate, Scale, count
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

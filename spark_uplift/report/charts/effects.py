"""The chart of average effects: what each arm does when everybody is treated."""

from __future__ import annotations

from spark_uplift.report.figure import (
    INK,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    error_bars,
    label,
    register,
    scaled,
)
from spark_uplift.report.findings import Finding, findings
from spark_uplift.report.format import Scale
from spark_uplift.report.inputs import ReportInputs


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
